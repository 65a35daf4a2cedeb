package e2e

// A trace is what can be seen of a scenario from outside, with what differs from run to run masked. It is flat, path by path,
// so that two traces can be compared field by field.

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Trace is flat: "steps[0].exit" → "0", "workloads.Deployment/payments.paused" → "true", "tags.payments.latest" → "<image 3>".
type Trace map[string]string

// Difference allows the two worlds to differ in some fields, for a reason.
type Difference struct {
	Path string // as path.Match has it; "/" is not special here
	Why  string
}

// everywhere are the differences allowed in every scenario.
var everywhere = []Difference{}

// covers tells whether an allowed difference is about a field.
func (d Difference) covers(field string) bool {
	ok, err := path.Match(strings.ReplaceAll(d.Path, "/", "|"), strings.ReplaceAll(field, "/", "|"))
	if err != nil {
		panic(fmt.Sprintf("allowed difference %q: %v", d.Path, err)) // the table is wrong
	}
	return ok
}

// each calls do with every field in which two traces differ.
func (t Trace) each(other Trace, do func(field string)) {
	fields := map[string]bool{}
	for f := range t {
		fields[f] = true
	}
	for f := range other {
		fields[f] = true
	}
	for _, f := range sorted(fields) {
		l, inT := t[f]
		r, inOther := other[f]
		if l != r || inT != inOther {
			do(f)
		}
	}
}

// differences hold the trace of the real world against that of the loopback one. Each text begins with the field.
func differences(loopback, real Trace, allowed []Difference) []string {
	var list []string
	loopback.each(real, func(f string) {
		if !slices.ContainsFunc(allowed, func(d Difference) bool { return d.covers(f) }) {
			l, inLoopback := loopback[f]
			r, inReal := real[f]
			list = append(list, fmt.Sprintf("%s: the worlds differ (-loopback +real):\n%s", f, cmp.Diff(lines(l, inLoopback), lines(r, inReal))))
		}
	})
	return list
}

// said tells whether a difference is in what the program said or wrote, which no waiting changes.
func said(difference string) bool {
	return strings.HasPrefix(difference, "steps[") || strings.HasPrefix(difference, "journals[")
}

// unused complains of allowed differences that there are not.
func unused(t *testing.T, loopback, real Trace, allowed []Difference) {
	t.Helper()
	for _, d := range allowed {
		used := false
		if loopback.each(real, func(f string) { used = used || d.covers(f) }); !used {
			t.Errorf("the worlds no longer differ in %s (%s): take it off the list", d.Path, d.Why)
		}
	}
}

func lines(s string, there bool) []string {
	if !there {
		return nil
	}
	return strings.Split(s, "\n")
}

func sorted[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// named are the releases, and what came into being since.
func (s *Stage) named() map[string]*Release {
	f, ok := s.world.(*forge)
	if !ok {
		return s.releases
	}
	all := f.named()
	maps.Copy(all, s.releases)
	return all
}

// mask takes out of a text what differs from run to run, and gives images and commits their names.
func (s *Stage) mask(text string) string {
	for name, r := range s.named() {
		if r.Digest != "" {
			text = strings.ReplaceAll(text, r.Digest, "<image "+name+" in full>")
			text = strings.ReplaceAll(text, r.Digest[:19], "<image "+name+">")
			text = strings.ReplaceAll(text, r.Digest[7:19], "<image "+name+" short>")
		}
		if r.Commit != "" {
			for _, n := range []int{40, 12, 7} {
				text = strings.ReplaceAll(text, r.Commit[:n], "<commit "+name+">")
			}
		}
	}
	text = strings.ReplaceAll(text, s.world.Dir(), "DIR")
	for _, m := range masks {
		text = m.re.ReplaceAllString(text, m.by)
	}
	return oneGap(eventLines(stepLines(inAll.ReplaceAllString(spans(text), "$1"))))
}

// inAll is how long a command took in all, which one of less than a second does not say.
var inAll = regexp.MustCompile(`(?m)^(✔ .*?)  \(Ns\)$`)

// padding is the space between two columns, or before what is right of a text.
var padding = regexp.MustCompile(`(\S)  +`)

// oneGap makes all columns equally far from each other: how wide one is depends on what was masked in it.
func oneGap(text string) string { return padding.ReplaceAllString(text, "$1  ") }

var spanForm = regexp.MustCompile(`\b(?:\d+(?:\.\d+)?(?:ms|d|h|m|s))+\b`)

// agesOf are how long ago things are in the scenarios, and periods is what counts down in them.
var (
	agesOf  = []time.Duration{5 * time.Minute, 42 * time.Minute, 27 * time.Hour, 6 * day, 9 * day, 90 * day}
	periods = []time.Duration{time.Hour}
)

const (
	day = 24 * time.Hour
	// passing is the longest that may pass from the seed of a scenario to what is said in it, and so by what a span may be off.
	passing = bound + time.Minute
)

// spans masks how long something took or is ago. What happened in the scenario itself is one span; an age of the seed is told
// from another, and so is what is left of a period, but not how far the clock has gone since.
func spans(text string) string {
	return spanForm.ReplaceAllStringFunc(text, func(said string) string {
		d, ok := span(said)
		if !ok {
			return said
		}
		for _, age := range agesOf {
			if d >= age && d < age+passing {
				return age.String() + "…"
			}
		}
		for _, p := range periods {
			if d > p-passing && d <= p {
				return "…" + p.String()
			}
		}
		if d < passing {
			return "Ns"
		}
		return said
	})
}

// span reads a duration as the program, Go or Kubernetes writes it.
func span(text string) (time.Duration, bool) {
	var sum time.Duration
	for _, m := range spanUnit.FindAllStringSubmatch(text, -1) {
		n, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return 0, false
		}
		sum += time.Duration(n * float64(map[string]time.Duration{"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": day}[m[2]]))
	}
	return sum, true
}

var spanUnit = regexp.MustCompile(`(\d+(?:\.\d+)?)(ms|d|h|m|s)`)

// announced is the line that a step has which takes a second, before its end, and ended that of its end.
var (
	announced = regexp.MustCompile(`(?m)^► (\S+) +(.*)\n`)
	ended     = regexp.MustCompile(`(?m)^([✔✗◎] (\S+) +)(.*)$`)
)

// stepLines tells the end of each step in one way: the text of one that was announced is not repeated at its end, and here it
// is, as at the end of a step that was quick.
func stepLines(text string) string {
	texts := map[string]string{}
	for _, m := range announced.FindAllStringSubmatch(text, -1) {
		texts[m[1]] = m[2]
	}
	return ended.ReplaceAllStringFunc(announced.ReplaceAllString(text, ""), func(line string) string {
		m := ended.FindStringSubmatch(line)
		said, ok := texts[m[2]]
		switch {
		case !ok:
			return line
		case m[3] == "done":
			return m[1] + said
		}
		return m[1] + said + ": " + m[3]
	})
}

// eventLines makes one line of each run of event lines: which the program sees in time depends on the clock. Those of the
// cluster are fields of the trace of their own.
func eventLines(text string) string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, "  event: ") {
			if line = "  event: …"; len(out) > 0 && out[len(out)-1] == line {
				continue
			}
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

// masks are what differs from run to run, and so between the worlds.
var masks = []struct {
	re *regexp.Regexp
	by string
}{
	// Names that whoever makes the object chooses at random, or that stand for where a world is.
	{regexp.MustCompile(`\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`), "UID"},
	{regexp.MustCompile(`e2e-\d+`), "prod"}, // the namespace; a UID can have that in it
	{regexp.MustCompile(`\bnode-[abc]\b`), "NODE"},
	{regexp.MustCompile(`\b\d{8}t\d{6}z-[0-9a-f]{4}\b`), "RUN"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "127.0.0.1:PORT"},
	{regexp.MustCompile(`stream ID \d+`), "stream ID N"}, // how many requests were made before on a connection
	{regexp.MustCompile(`\b(payments|web)(-(?:[0-9a-z]{7,10}|[bcdfghjklmnpqrstvwxz2456789]{5,6}))-[0-9a-z]{5}(_|\b)`), "$1-HASH-POD$3"},
	{regexp.MustCompile(`\b(payments-agent)-[0-9a-z]{5}\b`), "$1-POD"},
	{regexp.MustCompile(`\b(payments|web)-[bcdfghjklmnpqrstvwxz2456789]{5,10}\b`), "$1-HASH"}, // the alphabet of Kubernetes' rand.SafeEncodeString
	{regexp.MustCompile(`/\d+@UID/\d+/\d+`), "/PROCESS"},                                      // who holds the lock

	// Moments; spans masks how long ago they are.
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z| UTC)?`), "TIME"},
	{regexp.MustCompile(`\b\d\d:\d\d:\d\dZ?\b`), "TIME"},
	{regexp.MustCompile(`\bby \d\d:\d\d UTC`), "by TIME"},
	{regexp.MustCompile(`\b\d+(\.\d+)? (ms|s)\b`), "N s"},
	{regexp.MustCompile(`(?m)^([✔✗◎] .*)  \d+\.\ds$`), "$1"}, // how long a step took, told when it is long

	// How often and how far something went before somebody looked depends on the clock.
	{regexp.MustCompile(`ImagePullBackOff: Back-off pulling image "[^"]*": ErrImagePull: `), "ErrImagePull: "}, // the kubelet tells one trouble by both in turn
	{regexp.MustCompile(`\bback-off \S+ restarting\b`), "back-off N restarting"},                               // doubled each time
	{regexp.MustCompile(`\(\d+ times\)`), "(N times)"},
	// Progress of the pods, and the sign of life in between. The end of a step also begins so where it is pending, and stays.
	{regexp.MustCompile(`(?m)^◎ (?:(?:deployment|statefulset|daemonset)/\S+|still waiting): .*\n`), ""},

	// The nodes stood in for have no layers: the two worlds tell sizes of their own.
	{regexp.MustCompile(`Image size: \d+ bytes`), "Image size: N bytes"},

	{regexp.MustCompile(`(?m) +$`), ""}, // what a masked last column leaves
}

// trace looks at everything in the world, past the program.
func (s *Stage) trace(ctx context.Context) (Trace, error) {
	t := Trace{}
	for i, step := range s.done {
		at := fmt.Sprintf("steps[%d].", i)
		t[at+"command"] = "rollback " + s.mask(strings.Join(step.args, " "))
		t[at+"exit"] = strconv.Itoa(step.exit)
		s.flatten(t, at+"stdout", step.stdout)
		t[at+"stderr"] = s.mask(step.stderr)
		for k, v := range step.result {
			t[at+"result."+k] = s.mask(v)
		}
	}
	if err := s.traceJournals(t); err != nil {
		return nil, err
	}
	for _, repo := range s.repositories() {
		for tag, digest := range s.world.Registry().Tags(repo) {
			t["tags."+repo+"."+s.mask(tag)] = s.mask(digest)
		}
	}
	for _, kind := range []string{"Deployment", "StatefulSet", "DaemonSet"} {
		list, err := s.world.API().list(ctx, plural(kind), s.world.Namespace(), "")
		if err != nil {
			return nil, err
		}
		for _, o := range list {
			s.traceWorkload(t, kind, o)
		}
	}
	if err := s.traceReplicaSets(ctx, t); err != nil {
		return nil, err
	}
	jobs, err := s.world.API().list(ctx, "cronjobs", s.world.Namespace(), "")
	if err != nil {
		return nil, err
	}
	for _, o := range jobs {
		s.flatten(t, "cronjobs."+str(o, "metadata", "name"), o["spec"])
	}
	if err := s.tracePods(ctx, t); err != nil {
		return nil, err
	}
	if err := s.traceEvents(ctx, t); err != nil {
		return nil, err
	}
	maps, err := s.world.API().list(ctx, "configmaps", s.world.Namespace(), "")
	if err != nil {
		return nil, err
	}
	for _, m := range maps {
		name := str(m, "metadata", "name")
		if name == "kube-root-ca.crt" {
			continue
		}
		for key, v := range mapOf(m, "data") {
			s.flatten(t, "configmaps."+name+"."+key, v)
		}
		for _, kind := range []string{"labels", "annotations"} {
			for key, v := range mapOf(m, "metadata", kind) {
				t["configmaps."+name+"."+kind+"."+key] = s.mask(fmt.Sprint(v))
			}
		}
	}
	if f, ok := s.world.(*forge); ok {
		return t, f.trace(s, t)
	}
	return t, nil
}

func (s *Stage) traceWorkload(t Trace, kind string, o object) {
	at_ := "workloads." + kind + "/" + str(o, "metadata", "name") + "."
	t[at_+"observed"] = strconv.FormatBool(num(o, "status", "observedGeneration") == num(o, "metadata", "generation"))
	t[at_+"generation"] = strconv.Itoa(num(o, "metadata", "generation"))
	if kind == "Deployment" {
		t[at_+"paused"] = strconv.FormatBool(at(o, "spec", "paused") == true)
		t[at_+"revision"] = str(o, "metadata", "annotations", "deployment.kubernetes.io/revision")
	}
	for k, v := range mapOf(o, "spec", "template", "metadata", "annotations") {
		t[at_+"template."+k] = s.mask(fmt.Sprint(v))
	}
	for k, v := range mapOf(o, "status") {
		if n, ok := v.(float64); ok && k != "observedGeneration" && n != 0 { // an absent number is a zero
			t[at_+"status."+k] = fmt.Sprint(n)
		}
	}
	for _, c := range items(o, "status", "conditions") {
		reason := str(c, "reason")
		if slices.Contains([]string{"NewReplicaSetCreated", "FoundNewReplicaSet", "ReplicaSetUpdated"}, reason) {
			reason = "(on its way)" // which of them depends on how many changes the controller sees at once
		}
		t[at_+"condition."+str(c, "type")] = str(c, "status") + " " + reason
	}
}

func mapOf(o any, path ...string) object {
	m, _ := at(o, path...).(object)
	return m
}

// traceReplicaSets notes those of each deployment by their revision.
func (s *Stage) traceReplicaSets(ctx context.Context, t Trace) error {
	list, err := s.world.API().list(ctx, "replicasets", s.world.Namespace(), "")
	if err != nil {
		return err
	}
	for _, o := range list {
		owner := "nobody"
		for _, r := range items(o, "metadata", "ownerReferences") {
			owner = str(r, "kind") + "/" + str(r, "name")
		}
		annotations := mapOf(o, "metadata", "annotations")
		t[fmt.Sprintf("replicasets.%s revision %v", owner, annotations["deployment.kubernetes.io/revision"])] = fmt.Sprintf("wants %d, has %d, %d ready, for %v",
			num(o, "spec", "replicas"), num(o, "status", "replicas"), num(o, "status", "readyReplicas"), annotations["deployment.kubernetes.io/desired-replicas"])
	}
	return nil
}

// traceJournals notes what the journals tell, run by run and step by step: steps run side by side.
func (s *Stage) traceJournals(t Trace) error {
	type event struct {
		Type, Step, Text, Error string
		Data                    object
	}
	var all [][]event
	for _, path := range s.journals {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var events []event
		for line := range strings.Lines(string(text)) {
			var e event
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				return fmt.Errorf("%s: %w in %s", path, err, line)
			}
			events = append(events, e)
		}
		if len(events) == 0 {
			return fmt.Errorf("%s is empty", path)
		}
		all = append(all, events)
	}
	for i, events := range all {
		next := map[string]int{}
		for _, e := range events {
			if e.Type == "rollout.progress" { // what is seen on the way depends on the clock
				continue
			}
			delete(e.Data, "events") // so do these; they are held against the cluster's
			step := e.Step
			if step == "" {
				step = "run"
			}
			at := fmt.Sprintf("journals[%d].%s[%d].", i, step, next[step])
			next[step]++
			t[at+"type"] = e.Type
			for name, text := range map[string]string{"text": e.Text, "error": e.Error} {
				if text != "" {
					t[at+name] = s.mask(text)
				}
			}
			s.flatten(t, at+"data", e.Data)
		}
	}
	return nil
}

// tracePods counts the pods that are not about to go, by what they run and how they are.
func (s *Stage) tracePods(ctx context.Context, t Trace) error {
	list, err := s.world.API().list(ctx, "pods", s.world.Namespace(), "")
	if err != nil {
		return err
	}
	count := map[string]int{}
	for _, p := range list {
		if str(p, "metadata", "deletionTimestamp") != "" {
			continue
		}
		var all []string
		for _, c := range append(items(p, "status", "initContainerStatuses"), items(p, "status", "containerStatuses")...) {
			_, digest, _ := strings.Cut(str(c, "imageID"), "@")
			all = append(all, fmt.Sprintf("%s %s %s", str(c, "name"), s.mask(digest), containerState(c)))
		}
		slices.Sort(all)
		count["pods."+str(p, "metadata", "labels", "app")+": "+str(p, "status", "phase")+" ["+strings.Join(all, "; ")+"]"]++
	}
	for k, n := range count {
		t[k] = strconv.Itoa(n)
	}
	return nil
}

// containerState is how a container is. What it goes through again and again is one state: a container that crashes runs,
// has ended and waits in turn; one whose image cannot be pulled tells so by two names.
func containerState(c any) string {
	for _, in := range []string{"state", "lastState"} {
		if code := num(c, in, "terminated", "exitCode"); code != 0 {
			return fmt.Sprintf("crashes with %d (%s)", code, str(c, in, "terminated", "reason"))
		}
	}
	state := "running"
	if mapOf(c, "state", "terminated") != nil {
		state = "ended"
	}
	if mapOf(c, "state", "waiting") != nil {
		if state = "waiting: " + str(c, "state", "waiting", "reason"); state == "waiting: ImagePullBackOff" {
			state = "waiting: ErrImagePull"
		}
	}
	if num(c, "restartCount") > 0 {
		state += " restarted"
	}
	return fmt.Sprintf("%s ready=%v", state, at(c, "ready"))
}

// combined begins the message of an event that the recorder made of the tenth and later ones of a kind about one object.
// Source: https://github.com/kubernetes/client-go/blob/v0.37.2/tools/record/events_cache.go (EventAggregatorByReasonMessageFunc)
const combined = "(combined from similar events): "

// scaled is how far a rollout goes at once, which depends on how many pods a controller sees become ready at once.
var scaled = regexp.MustCompile(`from \d+ to \d+`)

// traceEvents notes which events were seen and what they say; how often depends on the clock.
func (s *Stage) traceEvents(ctx context.Context, t Trace) error {
	list, err := s.world.API().list(ctx, "events", s.world.Namespace(), "")
	if err != nil {
		return err
	}
	for _, e := range list {
		component := str(e, "source", "component")
		if component == "" {
			component = str(e, "reportingComponent")
		}
		at := fmt.Sprintf("events.%s %s %s %s", str(e, "involvedObject", "kind"), component, str(e, "type"), str(e, "reason"))
		t[at] = "seen"
		t[at+": "+s.eventText(str(e, "message"))] = "seen"
	}
	return nil
}

func (s *Stage) eventText(message string) string {
	return scaled.ReplaceAllString(s.mask(strings.TrimPrefix(message, combined)), "from N to N")
}

// toldAgain is how the program says that an event came more than once.
var toldAgain = regexp.MustCompile(` \(\d+ times\)$`)

// unseen are the lines in which the program tells of an event that the cluster does not have.
func (s *Stage) unseen(t Trace) []string {
	var list []string
	for _, step := range s.done {
		for line := range strings.Lines(step.stderr) {
			text, ok := strings.CutPrefix(strings.TrimSpace(line), "event: ")
			if !ok {
				continue
			}
			if strings.HasPrefix(text, "events not readable: ") { // no event, but why there is none
				continue
			}
			reason, message, _ := strings.Cut(toldAgain.ReplaceAllString(text, ""), ": ")
			end := " " + reason + ": " + s.eventText(message)
			if !slices.ContainsFunc(sorted(t), func(f string) bool { return strings.HasPrefix(f, "events.") && strings.HasSuffix(f, end) }) {
				list = append(list, text)
			}
		}
	}
	return list
}

// flatten puts JSON, or text that holds JSON, under a path.
func (s *Stage) flatten(t Trace, under string, v any) {
	switch v := v.(type) {
	case object:
		for k, x := range v {
			s.flatten(t, under+"."+s.mask(k), x)
		}
	case []any:
		for i, x := range v {
			s.flatten(t, fmt.Sprintf("%s[%d]", under, i), x)
		}
	case string:
		var inner any
		if json.Unmarshal([]byte(v), &inner) == nil {
			switch inner.(type) {
			case object, []any:
				s.flatten(t, under, inner)
				return
			}
		}
		t[under] = s.mask(v)
	default:
		t[under] = fmt.Sprint(v)
	}
}

// settled takes traces until they stay the same for a while: controllers and nodes go on when the program has ended.
func (s *Stage) settled(ctx context.Context) (Trace, error) {
	const quiet = 700 * time.Millisecond
	var last, before Trace
	since := time.Now()
	err := until(ctx, func() (bool, error) {
		t, err := s.trace(ctx)
		if err != nil {
			return false, err
		}
		if !maps.Equal(t, last) {
			before, last, since = last, t, time.Now()
		}
		return time.Since(since) > quiet, nil
	})
	if err != nil && before != nil {
		return nil, fmt.Errorf("it does not come to rest: %w; last changed:\n%s", err, cmp.Diff(before, last))
	}
	return last, err
}
