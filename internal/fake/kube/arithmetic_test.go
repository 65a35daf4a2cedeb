package kube

import (
	"fmt"
	"testing"
)

func rolling(replicas int, surge, unavailable any) tree {
	return tree{"replicas": int64(replicas), "strategy": tree{"type": "RollingUpdate", "rollingUpdate": tree{"maxSurge": surge, "maxUnavailable": unavailable}}}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	n := func(i int) any { return int64(i) }
	for _, c := range []struct {
		replicas           int
		surge, unavailable any
		wantS, wantU       int
	}{
		{1, "25%", "25%", 1, 0},
		{2, "25%", "25%", 1, 0},
		{3, "25%", "25%", 1, 0},
		{4, "25%", "25%", 1, 1},
		{5, "25%", "25%", 2, 1},
		{10, "25%", "25%", 3, 2},
		{10, "0%", "10%", 0, 1},
		{3, "0%", "10%", 0, 1}, // both would be zero
		{10, n(5), n(0), 5, 0},
		{2, n(0), n(5), 0, 2},
		{10, "100%", "0%", 10, 0},
		{0, "25%", "25%", 0, 0},
	} {
		s, u := bounds(rolling(c.replicas, c.surge, c.unavailable))
		if s != c.wantS || u != c.wantU {
			t.Errorf("%d replicas, surge %v, unavailable %v: %d and %d, want %d and %d", c.replicas, c.surge, c.unavailable, s, u, c.wantS, c.wantU)
		}
	}
	if s, u := bounds(tree{"replicas": int64(4), "strategy": tree{"type": "Recreate"}}); s != 0 || u != 0 {
		t.Errorf("Recreate: %d and %d, want none", s, u)
	}
}

func TestGrowth(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ replicas, olds, own, want int }{
		{4, 4, 0, 1},   // surge 1
		{4, 3, 1, 2},   // one old has gone
		{4, 4, 1, 1},   // full
		{4, 0, 0, 4},   // nothing old
		{4, 0, 4, 4},   // done
		{10, 10, 0, 3}, // surge 3
		{10, 5, 3, 8},
		{10, 2, 8, 10}, // no more than wanted
		{4, 9, 0, 0},   // no room
	} {
		if got := growth(rolling(c.replicas, "25%", "25%"), c.olds, c.own); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

func TestShare(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		v     any
		total int
		up    bool
		want  int
		ok    bool
	}{
		{"25%", 3, true, 1, true}, {"25%", 3, false, 0, true}, {"50%", 5, true, 3, true}, {"50%", 5, false, 2, true},
		{int64(2), 9, true, 2, true}, {nil, 9, true, 0, true}, {"2", 9, true, 0, false}, {"x%", 9, true, 0, false}, {"-5%", 9, true, 0, false}, {true, 9, true, 0, false},
	} {
		got, err := share(c.v, c.total, c.up)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("share(%v, %d, %v) = %d, %v; want %d, %v", c.v, c.total, c.up, got, err, c.want, c.ok)
		}
	}
}

func TestImageReferences(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ ref, repo, tag, digest, policy, canonical string }{
		{"web", "web", "latest", "", "Always", "docker.io/library/web"},
		{"acme/web:latest", "acme/web", "latest", "", "Always", "docker.io/acme/web"},
		{"acme/web:1f2e", "acme/web", "1f2e", "", "IfNotPresent", "docker.io/acme/web"},
		{"localhost/web", "localhost/web", "latest", "", "Always", "localhost/web"},
		{"127.0.0.1:5000/web", "127.0.0.1:5000/web", "latest", "", "Always", "127.0.0.1:5000/web"},
		{"127.0.0.1:5000/web:v1", "127.0.0.1:5000/web", "v1", "", "IfNotPresent", "127.0.0.1:5000/web"},
		{"r.example.com/web@" + good, "r.example.com/web", "", good, "IfNotPresent", "r.example.com/web"},
		{"r.example.com/web:latest@" + good, "r.example.com/web", "latest", good, "IfNotPresent", "r.example.com/web"},
	} {
		repo, tag, digest := splitImage(c.ref)
		if repo != c.repo || tag != c.tag || digest != c.digest {
			t.Errorf("splitImage(%s) = %s, %s, %s", c.ref, repo, tag, digest)
		}
		if p := pullPolicy(c.ref); p != c.policy {
			t.Errorf("pullPolicy(%s) = %s, want %s", c.ref, p, c.policy)
		}
		if r := canonicalRepo(repo); r != c.canonical {
			t.Errorf("canonicalRepo(%s) = %s, want %s", repo, r, c.canonical)
		}
	}
}

func TestQuantity(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   any
		want int
	}{{"500m", 500}, {"2", 2000}, {int64(2), 2000}, {"0.5", 500}, {"1Ki", 1024000}, {"1k", 1000000}, {"1Gi", 1 << 30 * 1000}, {nil, 0}, {"much", 0}} {
		if got := quantity(c.in); got != c.want {
			t.Errorf("quantity(%v) = %d, want %d", c.in, got, c.want)
		}
	}
}

// history replays the log of a namespace and calls look after every change with the pods as they were.
func history(s *Server, ns string, look func(map[string]*object)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := map[string]*object{}
	for _, c := range s.log {
		if c.res != pods {
			continue
		}
		if c.new != nil {
			if c.new.ns == ns {
				now[c.new.name] = c.new
			}
		} else {
			delete(now, c.old.name)
		}
		look(now)
	}
}

// A rolling update never has more pods than replicas + surge, and never fewer available ones than replicas - unavailable.
func TestRollingUpdateKeepsItsBounds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		replicas           int
		surge, unavailable any
	}{
		{1, "25%", "25%"}, {2, "25%", "25%"}, {4, "25%", "25%"}, {7, "25%", "25%"}, {10, "25%", "25%"}, {10, "100%", int64(0)}, {5, int64(0), int64(2)}, {6, int64(1), int64(0)}, {3, int64(0), "10%"},
	} {
		t.Run(fmt.Sprintf("%d,%v,%v", c.replicas, c.surge, c.unavailable), func(t *testing.T) {
			t.Parallel()
			s, reg := cluster(t, Options{})
			d := NewDeployment("prod", "payments", image, c.replicas)
			Set(d, tree{"type": "RollingUpdate", "rollingUpdate": tree{"maxSurge": c.surge, "maxUnavailable": c.unavailable}}, "spec", "strategy")
			must(t, s.Apply(d))
			must(t, s.WaitRollout(ctx(t), "deploy", "prod", "payments"))
			reg.tag(image, bad)
			restart(t, s, "deploy", "payments", "1")
			must(t, s.WaitRollout(ctx(t), "deploy", "prod", "payments"))
			must(t, s.Wait(ctx(t), func() bool { return len(s.List("pods", "prod", "")) == c.replicas }))
			surge, unavailable := bounds(rolling(c.replicas, c.surge, c.unavailable))
			full := false
			history(s, "prod", func(now map[string]*object) {
				live, up := 0, 0
				for _, p := range now {
					if active(p) {
						live++
						if ready(p) {
							up++
						}
					}
				}
				full = full || up == c.replicas
				if live > c.replicas+surge {
					t.Errorf("%d pods at once, at most %d allowed", live, c.replicas+surge)
				}
				if full && up < c.replicas-unavailable {
					t.Errorf("%d pods available, at least %d needed", up, c.replicas-unavailable)
				}
			})
			if n := imageIDs(s); n["registry.example.com/payments@"+bad] != c.replicas || len(n) != 1 {
				t.Errorf("image IDs %v", n)
			}
			if o := s.Get("deploy", "prod", "payments"); str(o, "metadata", "annotations", revisionKey) != "2" {
				t.Errorf("revision %q, want 2", str(o, "metadata", "annotations", revisionKey))
			}
		})
	}
}

// restart stamps the template of a workload.
func restart(t *testing.T, s *Server, resource, name, value string) {
	t.Helper()
	must(t, s.Edit(resource, "prod", name, func(o map[string]any) {
		Set(o, value, "spec", "template", "metadata", "annotations", "example.com/restart")
	}))
}
