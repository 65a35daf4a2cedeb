// Command kubeworld runs a real Kubernetes with nodes stood in for, on 127.0.0.1, until it is told to end: by SIGTERM, by
// SIGINT, or by the end of its standard input, which is that of its parent. It prints one line of JSON when it can be used
// (control.Ready), logs to standard error, and leaves nothing behind.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/rollback-tools/rollback/test/e2e/kubeworld"
)

func main() {
	names := flag.String("nodes", "node-a,node-b,node-c", "names of the nodes")
	flag.Parse()
	if err := run(strings.Split(*names, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "kubeworld:", err)
		os.Exit(1)
	}
}

func run(names []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends when the parent does, however it ends
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	dir, err := os.MkdirTemp("", "kubeworld-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	begun := time.Now()
	w, err := kubeworld.Start(ctx, kubeworld.Options{Dir: dir, Nodes: names})
	if err != nil {
		return err
	}
	defer w.Close()
	fmt.Fprintf(os.Stderr, "kubeworld: Kubernetes %s is ready after %s\n", kubeworld.Version(), time.Since(begun).Round(time.Millisecond))
	if err := json.NewEncoder(os.Stdout).Encode(w.Ready); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
