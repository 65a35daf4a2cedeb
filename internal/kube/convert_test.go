package kube

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/rollback-tools/rollback/internal/rollback"
)

func decoded(t *testing.T, text string) object {
	t.Helper()
	var o object
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	return o
}

func on(year int, month time.Month, day, hour int) time.Time {
	return time.Date(year, month, day, hour, 0, 0, 0, time.UTC)
}

func TestWorkloadOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		kind       kind
		want       rollback.Workload
		selector   string
	}{
		{
			name: "deployment in full", kind: deployments, selector: "app=payments,tier in (back,front)",
			text: `{"kind":"Deployment","metadata":{"name":"payments","namespace":"prod","uid":"u1","generation":7,
				"annotations":{"argocd.argoproj.io/tracking-id":"shop:apps/Deployment:prod/payments","meta.helm.sh/release-name":"payments"},
				"ownerReferences":[{"kind":"Thing","name":"other","uid":"x"},{"kind":"PaymentApp","name":"payments","uid":"o","controller":true}]},
				"spec":{"replicas":3,"minReadySeconds":5,"paused":true,
				"selector":{"matchLabels":{"app":"payments"},"matchExpressions":[{"key":"tier","operator":"In","values":["back","front"]}]},
				"strategy":{"type":"Recreate"},
				"template":{"metadata":{"creationTimestamp":null,"annotations":{"rollback-tools.github.io/run":"R1"}},"spec":{
					"initContainers":[{"name":"migrate","image":"r.example.com/payments:latest","imagePullPolicy":"Always"},
						{"name":"proxy","image":"r.example.com/proxy@sha256:` + strings.Repeat("a", 64) + `","restartPolicy":"Always",
						 "envFrom":[{"configMapRef":{"name":"proxy"}},{"secretRef":{"name":"s"}}]}],
					"containers":[{"name":"app","image":"r.example.com/payments","env":[
						{"name":"A","value":"1"},{"name":"B","valueFrom":{"configMapKeyRef":{"name":"app","key":"b"}}},{"name":"C","valueFrom":{"fieldRef":{}}}]},
						{"name":"logs","image":"r.example.com/logs:v1","envFrom":[{"configMapRef":{"name":"app"}}]}],
					"volumes":[{"name":"a","configMap":{"name":"files"}},{"name":"b","emptyDir":{}},
						{"name":"c","projected":{"sources":[{"configMap":{"name":"all"}},{"secret":{"name":"s"}}]}}]}}},
				"status":{"observedGeneration":6,"replicas":4,"updatedReplicas":1,"readyReplicas":3,"availableReplicas":2,"conditions":[
					{"type":"Progressing","status":"False","reason":"ProgressDeadlineExceeded","message":"timed out"},
					{"type":"ReplicaFailure","status":"True","reason":"FailedCreate","message":"exceeded quota: cpu\n"},
					{"type":"Available","status":"True","reason":"MinimumReplicasAvailable"}]}}`,
			want: rollback.Workload{
				Ref: payments, UID: "u1", Strategy: rollback.Recreate, Paused: true, Owner: "PaymentApp/payments", ManagedBy: "argocd", Stamp: "R1",
				Containers: []rollback.Container{
					{Name: "migrate", Role: rollback.Init, Image: "r.example.com/payments:latest", PullPolicy: "Always"},
					{Name: "proxy", Role: rollback.Sidecar, Image: "r.example.com/proxy@sha256:" + strings.Repeat("a", 64), PullPolicy: "IfNotPresent"},
					{Name: "app", Role: rollback.Main, Image: "r.example.com/payments", PullPolicy: "Always"},
					{Name: "logs", Role: rollback.Main, Image: "r.example.com/logs:v1", PullPolicy: "IfNotPresent"},
				},
				ConfigMaps: []string{"all", "app", "files", "proxy"},
				Rollout: rollback.Rollout{Generation: 7, ObservedGeneration: 6, Desired: 3, Total: 4, Updated: 1, Ready: 3, Available: 2,
					Stalled: "ProgressDeadlineExceeded: timed out", Failure: "FailedCreate: exceeded quota: cpu", MinReady: 5 * time.Second},
			},
		},
		{
			name: "deployment in short: the API's defaults", kind: deployments,
			text: `{"metadata":{"name":"web","namespace":"prod"},"spec":{"template":{"spec":{"containers":[{"name":"web","image":"web:latest"}]}}}}`,
			want: rollback.Workload{
				Ref: rollback.Ref{Kind: "Deployment", Namespace: "prod", Name: "web"}, Strategy: rollback.RollingUpdate,
				Containers: []rollback.Container{{Name: "web", Role: rollback.Main, Image: "web:latest", PullPolicy: "Always"}},
				Rollout:    rollback.Rollout{Desired: 1},
			},
		},
		{
			name: "deployment scaled to nothing", kind: deployments,
			text: `{"metadata":{"name":"web"},"spec":{"replicas":0}}`,
			want: rollback.Workload{Ref: rollback.Ref{Kind: "Deployment", Name: "web"}, Strategy: rollback.RollingUpdate, Containers: []rollback.Container{}},
		},
		{
			name: "stateful set, ordered, with a partition", kind: statefulSets, selector: "app=db",
			text: `{"metadata":{"name":"db","namespace":"prod","labels":{"kustomize.toolkit.fluxcd.io/name":"x"}},
				"spec":{"replicas":3,"selector":{"matchLabels":{"app":"db"}},"podManagementPolicy":"OrderedReady",
				"updateStrategy":{"type":"RollingUpdate","rollingUpdate":{"partition":2}}},
				"status":{"replicas":3,"updatedReplicas":1,"readyReplicas":3,"availableReplicas":3,"currentRevision":"db-1","updateRevision":"db-2",
				"conditions":[{"type":"Progressing","reason":"ProgressDeadlineExceeded"}]}}`,
			want: rollback.Workload{
				Ref: rollback.Ref{Kind: "StatefulSet", Namespace: "prod", Name: "db"}, Strategy: rollback.RollingUpdate, Ordered: true, ManagedBy: "flux",
				Containers: []rollback.Container{},
				Rollout:    rollback.Rollout{Desired: 3, Total: 3, Updated: 1, Ready: 3, Available: 3, Partition: 2, CurrentRevision: "db-1", UpdateRevision: "db-2"},
			},
		},
		{
			name: "stateful set, parallel, on delete", kind: statefulSets,
			text: `{"metadata":{"name":"db","labels":{"app.kubernetes.io/managed-by":"Helm"}},"spec":{"podManagementPolicy":"Parallel","updateStrategy":{"type":"OnDelete"}}}`,
			want: rollback.Workload{
				Ref: rollback.Ref{Kind: "StatefulSet", Name: "db"}, Strategy: rollback.OnDelete, ManagedBy: "helm",
				Containers: []rollback.Container{}, Rollout: rollback.Rollout{Desired: 1},
			},
		},
		{
			name: "daemon set", kind: daemonSets,
			text: `{"metadata":{"name":"agent","managedFields":[{"manager":"helm-controller","time":"2026-01-01T00:00:00Z"},{"manager":"argocd-controller","subresource":"status"}]},
				"status":{"desiredNumberScheduled":5,"currentNumberScheduled":4,"updatedNumberScheduled":3,"numberReady":2,"numberAvailable":1,"observedGeneration":9}}`,
			want: rollback.Workload{
				Ref: rollback.Ref{Kind: "DaemonSet", Name: "agent"}, Strategy: rollback.RollingUpdate, ManagedBy: "flux",
				Containers: []rollback.Container{},
				Rollout:    rollback.Rollout{ObservedGeneration: 9, Desired: 5, Total: 4, Updated: 3, Ready: 2, Available: 1},
			},
		},
		{
			name: "cron job, suspended", kind: cronJobs,
			text: `{"metadata":{"name":"report"},"spec":{"schedule":"0 3 * * *","suspend":true,"jobTemplate":{"spec":{"template":{"spec":{
				"containers":[{"name":"r","image":"payments:latest","imagePullPolicy":"Never"}]}}}}}}`,
			want: rollback.Workload{
				Ref: rollback.Ref{Kind: "CronJob", Name: "report"}, Suspended: true, Schedule: "0 3 * * *",
				Containers: []rollback.Container{{Name: "r", Role: rollback.Main, Image: "payments:latest", PullPolicy: "Never"}},
			},
		},
		{
			name: "job that failed", kind: jobs, selector: "job=1",
			text: `{"metadata":{"name":"report-1","ownerReferences":[{"kind":"CronJob","name":"report","controller":true}]},
				"spec":{"selector":{"matchLabels":{"job":"1"}}},"status":{"conditions":[{"type":"Failed","status":"True"}]}}`,
			want: rollback.Workload{Ref: rollback.Ref{Kind: "Job", Name: "report-1"}, Owner: "CronJob/report", Finished: true, Containers: []rollback.Container{}},
		},
		{
			name: "job that runs", kind: jobs,
			text: `{"metadata":{"name":"report-1"},"status":{"conditions":[{"type":"Complete","status":"False"}]}}`,
			want: rollback.Workload{Ref: rollback.Ref{Kind: "Job", Name: "report-1"}, Containers: []rollback.Container{}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, selector, err := workloadOf(c.kind, decoded(t, c.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if c.selector != "" && selector != c.selector {
				t.Errorf("selector %q, want %q", selector, c.selector)
			}
		})
	}
}

func TestConversionsRefuseWhatIsNoObject(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`{}`, `{"metadata":{"name":""}}`, `{"metadata":"x"}`, `{"metadata":{"name":"a"},"spec":[]}`, `{"metadata":{"name":"a"},"spec":{"containers":"x","replicas":"three"}}`} {
		if _, _, err := workloadOf(deployments, decoded(t, text)); err == nil && !strings.Contains(text, "containers") {
			t.Errorf("workload %s: no error", text)
		}
		if _, err := podOf(decoded(t, text), nil); err == nil {
			t.Errorf("pod %s: no error", text)
		}
	}
}

func TestPodOf(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + strings.Repeat("b", 64)
	full := `{"metadata":{"name":"payments-5d9c-x1","namespace":"prod","uid":"p1","creationTimestamp":"2026-11-23T03:00:00Z","deletionTimestamp":"2026-11-23T04:00:00Z",
		"labels":{"pod-template-hash":"5d9c"},"annotations":{"rollback-tools.github.io/run":"R1"},
		"ownerReferences":[{"kind":"ReplicaSet","name":"payments-5d9c","uid":"rs1","controller":true}]},
		"spec":{"nodeName":"node-1","initContainers":[{"name":"migrate","image":"payments:latest"},{"name":"proxy","image":"proxy:1","restartPolicy":"Always"}],
			"containers":[{"name":"app","image":"payments:latest"},{"name":"side","image":"side:1"},{"name":"new","image":"new:1"}]},
		"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-11-23T03:05:00Z"},{"type":"PodScheduled","status":"True","message":"ignored"}],
			"initContainerStatuses":[{"name":"migrate","imageID":"docker-pullable://payments@` + digest + `","state":{"terminated":{"exitCode":0,"reason":"Completed"}}},
				{"name":"proxy","state":{"terminated":{"exitCode":0,"reason":"Completed"}}}],
			"containerStatuses":[{"name":"app","imageID":"r.example.com/payments@` + digest + `","restartCount":2,"state":{"waiting":{"reason":"CrashLoopBackOff","message":"back-off 20s"}},
					"lastState":{"terminated":{"exitCode":137,"reason":"OOMKilled","message":"killed\n"}}},
				{"name":"side","state":{"terminated":{"exitCode":3}}}]}}`
	got, err := podOf(decoded(t, full), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := rollback.Pod{
		Namespace: "prod", Name: "payments-5d9c-x1", UID: "p1", Owner: payments, Created: on(2026, 11, 23, 3), Stamp: "R1", Terminating: true, EndBy: on(2026, 11, 23, 4),
		Phase: "Running", Node: "node-1", Ready: true, ReadySince: on(2026, 11, 23, 3).Add(5 * time.Minute),
		Containers: []rollback.PodContainer{
			{Container: rollback.Container{Name: "migrate", Role: rollback.Init, Image: "payments:latest", PullPolicy: "Always"},
				ImageID: "docker-pullable://payments@" + digest, Digest: rollback.Digest(digest), LastReason: "Completed"},
			{Container: rollback.Container{Name: "proxy", Role: rollback.Sidecar, Image: "proxy:1", PullPolicy: "IfNotPresent"}, Waiting: "Completed", LastReason: "Completed"},
			{Container: rollback.Container{Name: "app", Role: rollback.Main, Image: "payments:latest", PullPolicy: "Always"},
				ImageID: "r.example.com/payments@" + digest, Digest: rollback.Digest(digest), Waiting: "CrashLoopBackOff", Message: "back-off 20s", Restarts: 2, LastExit: 137, LastReason: "OOMKilled", LastMessage: "killed"},
			{Container: rollback.Container{Name: "side", Role: rollback.Main, Image: "side:1", PullPolicy: "IfNotPresent"}, Waiting: "Terminated", LastExit: 3},
			{Container: rollback.Container{Name: "new", Role: rollback.Main, Image: "new:1", PullPolicy: "IfNotPresent"}, LastExit: -1},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}

	pending, err := podOf(decoded(t, `{"metadata":{"name":"a"},"status":{"phase":"Pending","conditions":[{"type":"PodScheduled","status":"False","reason":"Unschedulable","message":"0/3 nodes are available"}]}}`), nil)
	if err != nil || pending.Unschedulable != "0/3 nodes are available" || pending.Ready || pending.Owner.Kind != "Pod" {
		t.Errorf("pending: %+v, %v", pending, err)
	}

	// What a node that does not answer, or cannot begin, leaves of the conditions; and what looks like it.
	for conditions, want := range map[string][2]bool{ // lost, unmade
		`{"type":"Ready","status":"False"},{"type":"ContainersReady","status":"True"}`:                                                              {true, false},
		`{"type":"Ready","status":"True"},{"type":"ContainersReady","status":"True"},{"type":"PodReadyToStartContainers","status":"True"}`:          {false, false},
		`{"type":"Ready","status":"False","reason":"ReadinessGatesNotReady"},{"type":"ContainersReady","status":"True"}`:                            {false, false},
		`{"type":"Ready","status":"False","reason":"ContainersNotReady"},{"type":"ContainersReady","status":"False","reason":"ContainersNotReady"}`: {false, false},
		`{"type":"PodReadyToStartContainers","status":"False"}`:                                                                                     {false, true},
	} {
		p, err := podOf(decoded(t, `{"metadata":{"name":"a"},"spec":{"nodeName":"node-1"},"status":{"phase":"Pending","conditions":[`+conditions+`]}}`), nil)
		if err != nil || [2]bool{p.Lost, p.Unmade} != want {
			t.Errorf("%s: lost %t, unmade %t, %v", conditions, p.Lost, p.Unmade, err)
		}
	}
	ended, err := podOf(decoded(t, `{"metadata":{"name":"a"},"spec":{"nodeName":"node-1"},"status":{"phase":"Failed","reason":"Evicted","conditions":[{"type":"PodReadyToStartContainers","status":"False"}]}}`), nil)
	if err != nil || ended.Unmade || ended.Live() {
		t.Errorf("evicted: %+v, %v", ended, err)
	}
}

func TestPodOwner(t *testing.T) {
	t.Parallel()
	rs := func(name string) []wireOwner {
		return []wireOwner{{Kind: "ReplicaSet", Name: name, UID: "rs", Controller: true}}
	}
	ref := func(kind, name string) rollback.Ref { return rollback.Ref{Kind: kind, Namespace: "prod", Name: name} }
	for _, c := range []struct {
		name   string
		meta   wireMeta
		owners map[string]rollback.Ref
		want   rollback.Ref
	}{
		{"by the list of replica sets", wireMeta{OwnerReferences: rs("adopted")}, map[string]rollback.Ref{"rs": ref("Deployment", "web")}, ref("Deployment", "web")},
		{"orphaned replica set", wireMeta{OwnerReferences: rs("web-5d"), Labels: map[string]string{"pod-template-hash": "5d"}}, map[string]rollback.Ref{"rs": ref("ReplicaSet", "web-5d")}, ref("ReplicaSet", "web-5d")},
		{"by the hash", wireMeta{OwnerReferences: rs("web-api-5d"), Labels: map[string]string{"pod-template-hash": "5d"}}, nil, ref("Deployment", "web-api")},
		{"rollout", wireMeta{OwnerReferences: rs("web-77"), Labels: map[string]string{"rollouts-pod-template-hash": "77"}}, nil, ref("Rollout", "web")},
		{"a hash that is not the name's", wireMeta{OwnerReferences: rs("web-api-5d"), Labels: map[string]string{"pod-template-hash": "6e"}}, nil, ref("ReplicaSet", "web-api-5d")},
		{"nothing but the hash", wireMeta{OwnerReferences: rs("-5d"), Labels: map[string]string{"pod-template-hash": "5d"}}, nil, ref("ReplicaSet", "-5d")},
		{"stateful set", wireMeta{OwnerReferences: []wireOwner{{Kind: "StatefulSet", Name: "db", Controller: true}}}, nil, ref("StatefulSet", "db")},
		{"job of a cron job", wireMeta{OwnerReferences: []wireOwner{{Kind: "Job", Name: "r-1", UID: "j", Controller: true}}}, map[string]rollback.Ref{"j": ref("CronJob", "r")}, ref("CronJob", "r")},
		{"an owner that is no controller", wireMeta{OwnerReferences: []wireOwner{{Kind: "Deployment", Name: "x"}}}, nil, ref("Pod", "me")},
	} {
		c.meta.Name, c.meta.Namespace = "me", "prod"
		if got := podOwner(c.meta, c.owners); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestConfigAge(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		want       rollback.ConfigAge
		skip       bool
	}{
		{"newest entry with data", `{"name":"app","creationTimestamp":"2026-01-01T00:00:00Z","managedFields":[
			{"manager":"helm","time":"2026-02-01T00:00:00Z","fieldsV1":{"f:data":{".":{},"f:a":{},"f:b":{}}}},
			{"manager":"kubectl-edit","time":"2026-03-01T00:00:00Z","fieldsV1":{"f:data":{"f:b":{}},"f:binaryData":{"f:blob":{}}}},
			{"manager":"labeller","time":"2026-04-01T00:00:00Z","fieldsV1":{"f:metadata":{"f:labels":{"f:x":{}}}}}]}`,
			rollback.ConfigAge{Name: "app", Changed: on(2026, 3, 1, 0), Keys: []string{"b", "blob"}}, false},
		{"no managed fields", `{"name":"app","creationTimestamp":"2026-01-01T00:00:00Z"}`, rollback.ConfigAge{Name: "app", Changed: on(2026, 1, 1, 0)}, false},
		{"strange managed fields", `{"name":"app","managedFields":[{"fieldsV1":{"f:data":7}},{"fieldsV1":{"f:data":{"f:a":{}}}}]}`, rollback.ConfigAge{Name: "app"}, false},
		{"ours", `{"name":"rollback-payments","labels":{"app.kubernetes.io/managed-by":"rollback"}}`, rollback.ConfigAge{}, true},
		{"every namespace's", `{"name":"kube-root-ca.crt"}`, rollback.ConfigAge{}, true},
	} {
		var m wireMeta
		if err := json.Unmarshal([]byte(c.text), &m); err != nil {
			t.Fatal(err)
		}
		got, ok := configAge(m)
		if diff := cmp.Diff(c.want, got); diff != "" || ok == c.skip {
			t.Errorf("%s: %v (-want +got)\n%s", c.name, ok, diff)
		}
	}
}

func TestEventTexts(t *testing.T) {
	t.Parallel()
	var list []unstructured.Unstructured
	for _, text := range []string{
		`{"reason":"Third","message":"x\ny","lastTimestamp":"2026-01-01T03:00:00Z","count":4,"involvedObject":{"uid":"u"}}`,
		`{"reason":"First","message":"m","eventTime":"2026-01-01T01:00:00.123456Z","lastTimestamp":null,"involvedObject":{"uid":"u"}}`,
		`{"reason":"Second","message":"m","eventTime":"2026-01-01T00:00:00.123456Z","series":{"count":9,"lastObservedTime":"2026-01-01T02:00:00.5Z"}}`,
		`{"reason":"Other","message":"of the pod of the same name before","involvedObject":{"uid":"older"}}`,
	} {
		list = append(list, unstructured.Unstructured{Object: decoded(t, text)})
	}
	got, err := eventTexts(list, "u")
	if diff := cmp.Diff([]string{"First: m", "Second: m (9 times)", "Third: x y (4 times)"}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	// Microseconds of the scheduler against whole seconds of a node: what a node says in the same second came later.
	var mixed []unstructured.Unstructured
	for _, text := range []string{
		`{"reason":"Scheduled","message":"m","eventTime":"2026-01-01T01:00:00.900000Z","lastTimestamp":null,"metadata":{"creationTimestamp":"2026-01-01T01:00:00Z"}}`,
		`{"reason":"Pulling","message":"m","lastTimestamp":"2026-01-01T01:00:00Z","eventTime":null}`,
		`{"reason":"Started","message":"m","lastTimestamp":"2026-01-01T01:00:01Z","eventTime":null}`,
		`{"reason":"Preempted","message":"m","eventTime":"2026-01-01T01:00:01.100000Z"}`,
		`{"reason":"Killing","message":"m","lastTimestamp":"2026-01-01T01:00:00Z","eventTime":null}`,
	} {
		mixed = append(mixed, unstructured.Unstructured{Object: decoded(t, text)})
	}
	got, err = eventTexts(mixed, "")
	if diff := cmp.Diff([]string{"Scheduled: m", "Pulling: m", "Killing: m", "Started: m", "Preempted: m"}, got); diff != "" || err != nil {
		t.Errorf("mixed precision: %v (-want +got)\n%s", err, diff)
	}
	for range 20 {
		list = append(list, unstructured.Unstructured{Object: decoded(t, `{"reason":"R","message":"m","lastTimestamp":"2026-02-01T00:00:00Z"}`)})
	}
	if got, _ := eventTexts(list, ""); len(got) != diagnosisEvents || got[0] != "R: m" {
		t.Errorf("%d events, first %q", len(got), got[0])
	}
}

func TestLogLines(t *testing.T) {
	t.Parallel()
	text := "\x1b[31mred\x1b[0m \xff\r\n\n  indented\t\n" + strings.Repeat("é", 500) + "\n"
	want := []string{" [31mred [0m �", "  indented", strings.Repeat("é", longestLine) + "…"}
	if diff := cmp.Diff(want, logLines([]byte(text))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := logLines([]byte(strings.Repeat("line\n", 50))); len(got) != diagnosisLines {
		t.Errorf("%d lines", len(got))
	}
}

// Foreign JSON never makes the decoders panic, and what they accept has a name.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{}`, `[]`, `{"metadata":{"name":"a","ownerReferences":[null,{"controller":true}],"managedFields":[{"fieldsV1":{"f:data":[]}}]}}`,
		`{"metadata":{"name":"a","creationTimestamp":"never"},"spec":{"replicas":1e99,"template":null,"selector":{"matchExpressions":[{"operator":"x"}]}}}`,
		`{"metadata":{"name":"a"},"spec":{"containers":[{}],"initContainers":null,"volumes":[{"projected":{"sources":[{}]}}]},"status":{"containerStatuses":[{"state":{"waiting":{}}}],"conditions":[{"type":"Ready","status":"True"}]}}`,
		`{"metadata":{"name":"a"},"spec":{"minReadySeconds":9223372036854775807,"replicas":-1}}`,
		`{"reason":1,"series":{"count":-1}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var o object
		if json.Unmarshal(text, &o) != nil {
			return
		}
		for _, k := range workloadKinds {
			if w, _, err := workloadOf(k, o); err == nil && (w.Ref.Name == "" || w.Rollout.MinReady < 0) {
				t.Errorf("%s: %+v", k.name, w)
			}
		}
		if p, err := podOf(o, nil); err == nil && (p.Name == "" || p.Owner.Kind == "Pod" && p.Owner.Name != p.Name) {
			t.Errorf("pod: %+v", p)
		}
		if texts, err := eventTexts([]unstructured.Unstructured{{Object: o}}, "u"); err == nil && len(texts) > 1 {
			t.Errorf("events: %q", texts)
		}
		var m wireMeta
		if json.Unmarshal(text, &m) == nil {
			if age, ok := configAge(m); ok && age.Name == "" {
				t.Errorf("config: %+v", age)
			}
		}
		for _, line := range logLines(text) {
			if strings.ContainsAny(line, "\x1b\r\n") {
				t.Errorf("log line %q", line)
			}
		}
	})
}
