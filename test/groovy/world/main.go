// Command world serves loopback worlds to the tests of the shared library: a registry, a cluster, GitHub and Jenkins, each as
// the demo has them, as fast as they go. It takes a command a line on standard input and answers with lines that end in one of
// its own, "ok" or "error TEXT":
//
//	new               a world; prints the environment to reach it, and facts about it as WORLD_ variables
//	merge             the reviewer merges the open revert
//	break             the image before the bad one crashes where it starts
//	hold              pods that start from now on do not become ready
//	release           they do, and those that were held are replaced
//	running SERVICE   digest=pods for each image that its pods run
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/rollback-tools/rollback/internal/demo"
	"github.com/rollback-tools/rollback/internal/fake/kube"
)

func main() {
	var w *demo.World
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		if err := do(&w, strings.Fields(in.Text())); err != nil {
			fmt.Println("error " + strings.ReplaceAll(err.Error(), "\n", " "))
			continue
		}
		fmt.Println("ok")
	}
	if w != nil {
		w.Close()
	}
}

func do(w **demo.World, words []string) error {
	if len(words) == 1 && words[0] == "new" {
		if *w != nil {
			(*w).Close()
		}
		var err error
		if *w, err = demo.Start(demo.Options{Code: true}); err != nil {
			return err
		}
		if err := (*w).Seed(context.Background()); err != nil {
			return err
		}
		for _, kv := range (*w).Env(nil) {
			fmt.Println(kv)
		}
		n := len((*w).Releases)
		bad, good := (*w).Releases[n-1], (*w).Releases[n-2]
		for k, v := range map[string]string{"BAD": bad.Digest, "GOOD": good.Digest, "BAD_COMMIT": bad.Commit, "GOOD_COMMIT": good.Commit, "OLDER": (*w).Releases[n-3].Digest, "OLDER_COMMIT": (*w).Releases[n-3].Commit, "DIR": (*w).Dir} {
			fmt.Println("WORLD_" + k + "=" + v)
		}
		return nil
	}
	if *w == nil {
		return fmt.Errorf("there is no world yet")
	}
	switch {
	case len(words) == 1 && words[0] == "merge":
		_, _, err := (*w).MergeRevert()
		return err
	case len(words) == 1 && words[0] == "break":
		(*w).Cluster.Behave((*w).Releases[len((*w).Releases)-2].Digest, kube.Behaviour{Crash: true})
		return nil
	case len(words) == 1 && (words[0] == "hold" || words[0] == "release"):
		for _, r := range (*w).Releases {
			(*w).Cluster.Behave(r.Digest, kube.Behaviour{NeverReady: words[0] == "hold"})
		}
		if words[0] == "hold" {
			return nil
		}
		for _, pod := range (*w).Cluster.List("pods", demo.Namespace, "") {
			if ready(pod) {
				continue
			}
			meta, _ := pod["metadata"].(map[string]any)
			name, _ := meta["name"].(string)
			if err := (*w).Cluster.DeletePod(demo.Namespace, name); err != nil {
				return err
			}
		}
		return nil
	case len(words) == 2 && words[0] == "running":
		for digest, pods := range (*w).Running(words[1]) {
			fmt.Printf("%s=%d\n", digest, pods)
		}
		return nil
	}
	return fmt.Errorf("no command %q", strings.Join(words, " "))
}

// ready tells whether a pod's Ready condition is true.
func ready(pod map[string]any) bool {
	status, _ := pod["status"].(map[string]any)
	conditions, _ := status["conditions"].([]any)
	for _, c := range conditions {
		if c, _ := c.(map[string]any); c["type"] == "Ready" {
			return c["status"] == "True"
		}
	}
	return false
}
