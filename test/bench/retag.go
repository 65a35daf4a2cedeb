package main

// Moving a tag: ours against what people use for it today, on the same server, in turns.

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rollback-tools/rollback/internal/demo"
	"github.com/rollback-tools/rollback/internal/ecr"
)

// mover is one way to point latest at a commit's image.
type mover struct {
	name  string
	move  func(ctx context.Context, r demo.Release) (ended, error)
	walls map[time.Duration][]time.Duration
	slow  depths
}

func (b *bench) retag(ctx context.Context) (section, error) {
	s, err := open(demo.Options{})
	if err != nil {
		return section{}, err
	}
	defer s.Close()
	if err := s.Seed(ctx); err != nil {
		return section{}, err
	}
	movers, missing, err := b.movers(ctx, s)
	if err != nil {
		return section{}, err
	}
	// Two images that no pod runs, neither bad nor current, so that nothing but the tag differs between two moves.
	targets := s.Releases[len(s.Releases)-3 : len(s.Releases)-1]
	turn := 0
	move := func(m *mover) (seen, error) {
		to := targets[turn%2]
		turn++
		if err := s.forgetRollbacks("payments"); err != nil {
			return seen{}, err
		}
		s.forget()
		e, err := m.move(ctx, to)
		if err != nil {
			return seen{}, err
		}
		if got := s.Registry.Tags("payments")["latest"]; got != to.Digest {
			return seen{}, fmt.Errorf("%s: latest names %s, want %s", m.name, got, to.Digest)
		}
		return seen{e, s.calls()}, nil
	}
	for i := range movers { // once to warm up: caches, the binary in memory, the keep tags there
		for range 2 {
			if _, err := move(&movers[i]); err != nil {
				return section{}, err
			}
		}
	}
	for _, d := range []time.Duration{0, latency} {
		s.slow(d)
		b.log("retag with %s ms in each call", ms(d))
		for range b.times(20) {
			for i := range movers {
				m := &movers[i]
				seen, err := move(m)
				if err != nil {
					return section{}, err
				}
				m.walls[d] = append(m.walls[d], seen.wall())
				if d > 0 {
					m.slow.add(seen.wall(), seen.calls)
				}
			}
		}
	}

	bare, whole := &movers[0], &movers[1]
	t := table{head: []string{"what", "ms", "p90", "× our two calls", "× our command", "ms, 100 ms in each call", "× our two calls", "× our command", "calls", "waves"}}
	for i := range movers {
		m := &movers[i]
		now, far := m.walls[0], m.walls[latency]
		t.add(m.name, ms(median(now)), ms(quantile(now, 0.9)), ratio(median(now), median(bare.walls[0])), ratio(median(now), median(whole.walls[0])),
			ms(median(far)), ratio(median(far), median(bare.walls[latency])), ratio(median(far), median(whole.walls[latency])), span(m.slow.counts), span(m.slow.depth))
	}
	t.note = fmt.Sprintf("n = %d without latency and %[1]d with; in turns, latest pointed at the one and the other of two images (two platforms each).", b.times(20))
	return section{
		title: "Moving a tag",
		method: "The same server, in turns. Compare like with like: *our two calls* is what the others do, the adapter fetching a manifest and putting it under\n" +
			"another tag, but in a process that is up: starting ours takes " + ms(b.start) + " ms more. `rollback retag` is a whole process that also surveys cluster and registry, refuses what is not safe, takes a\n" +
			"lock, keeps the outgoing image under a tag of its own, looks at the tag again before and after, writes a journal to the disk and a record into the\n" +
			"cluster. The others do none of that. The aws CLI starts Python twice.",
		tables:  []table{t},
		missing: missing,
		limits: []string{
			"Logins: crane, skopeo and regctl need `aws ecr get-login-password` or a credential helper before they can talk to ECR; here they need neither.",
			"TCP and TLS to the registry: the registry is plain HTTP on 127.0.0.1.",
			"crane, skopeo and regctl speak the registry protocol, ours and aws the ECR API; one server answers both from one store.",
		},
	}, nil
}

// movers are ours first: the two calls, then the command.
func (b *bench) movers(ctx context.Context, s *site) ([]mover, []string, error) {
	adapter, err := adapterOf(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	list := []mover{
		{name: "ours: the adapter's two calls, in process", move: func(ctx context.Context, r demo.Release) (ended, error) {
			e := ended{begun: time.Now()}
			found, err := adapter.Manifests(ctx, "payments", r.Commit)
			if err == nil && len(found) != 1 {
				err = fmt.Errorf("%d manifests of %s", len(found), r.Commit)
			}
			if err == nil {
				_, err = adapter.Tag(ctx, "payments", found[0], "latest")
			}
			e.at = time.Now()
			return e, err
		}},
		{name: "ours: `rollback retag`, the whole safe command", move: func(ctx context.Context, r demo.Release) (ended, error) {
			return command(ctx, s.env, s.Dir, b.bin, args("retag", scope("payments", "--to", r.Commit, "--reason", "bench", "--yes")...)...)
		}},
	}
	image := strings.TrimPrefix(s.RegistryURL, "http://") + "/payments"
	regctlConfig := filepath.Join(s.Dir, "regctl.json")
	host, _, _ := strings.Cut(image, "/")
	if err := os.WriteFile(regctlConfig, []byte(fmt.Sprintf(`{"hosts":{%q:{"tls":"disabled","hostname":%q}}}`, host, host)), 0o600); err != nil {
		return nil, nil, err
	}
	var missing []string
	for _, o := range []struct {
		tool tool
		name string
		env  []string
		args func(r demo.Release) []string
	}{
		{b.tools.crane, "`crane tag`", nil, func(r demo.Release) []string { return []string{"tag", "--insecure", image + ":" + r.Commit, "latest"} }},
		{b.tools.skopeo, "`skopeo copy --all`", nil, func(r demo.Release) []string {
			return []string{"--insecure-policy", "copy", "--quiet", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", "docker://" + image + ":" + r.Commit, "docker://" + image + ":latest"}
		}},
		{b.tools.regctl, "`regctl image copy`", []string{"REGCTL_CONFIG=" + regctlConfig}, func(r demo.Release) []string {
			return []string{"image", "copy", image + ":" + r.Commit, image + ":latest"}
		}},
		{b.tools.aws, "`aws ecr batch-get-image` and `put-image`", []string{"AWS_PAGER=", "AWS_DEFAULT_REGION=eu-west-1", "AWS=" + b.tools.aws.path, "URL=" + s.RegistryURL}, nil},
	} {
		if o.tool.path == "" {
			missing = append(missing, o.name+": "+o.tool.name+" is not there. "+o.tool.hint)
			continue
		}
		env := append(s.env[:len(s.env):len(s.env)], o.env...)
		m := mover{name: o.name, move: func(ctx context.Context, r demo.Release) (ended, error) {
			if o.args == nil {
				return command(ctx, append(env[:len(env):len(env)], "COMMIT="+r.Commit), s.Dir, "sh", "-c", awsScript)
			}
			return command(ctx, env, s.Dir, o.tool.path, o.args(r)...)
		}}
		list = append(list, m)
	}
	for i := range list {
		list[i].walls = map[time.Duration][]time.Duration{}
	}
	return list, missing, nil
}

// awsScript is how AWS documents a retag
// (https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-retag.html), for an image of several platforms.
const awsScript = `set -e
manifest=$("$AWS" --endpoint-url "$URL" ecr batch-get-image --repository-name payments --image-ids imageTag="$COMMIT" \
	--accepted-media-types application/vnd.oci.image.index.v1+json --query 'images[0].imageManifest' --output text)
"$AWS" --endpoint-url "$URL" ecr put-image --repository-name payments --image-tag latest --image-manifest "$manifest" >/dev/null
`

// adapterOf opens the program's own registry adapter in this process, configured as the program is.
func adapterOf(ctx context.Context, s *site) (*ecr.Registry, error) {
	for k, v := range s.Registry.Env(s.RegistryURL) {
		if err := os.Setenv(k, v); err != nil {
			return nil, err
		}
	}
	return ecr.New(ctx, ecr.Config{Account: "123456789012", Region: "eu-west-1"})
}
