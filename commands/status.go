package commands

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/rollback-tools/rollback/internal/config"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// statusVersion is the schema version of `status --json`.
const statusVersion = 1

// statusReport is what `status --json` prints.
type statusReport struct {
	SchemaVersion int                      `json:"schemaVersion"`
	At            time.Time                `json:"at"`
	Environment   string                   `json:"environment"`
	Cluster       rollback.ClusterIdentity `json:"cluster"`
	Services      []serviceStatus          `json:"services"`
	// NotRead names what could not be read and why.
	NotRead []string `json:"notRead,omitempty"`
}

// serviceStatus is one scope: what runs, and where its last rollback stands.
type serviceStatus struct {
	Service   string          `json:"service"`
	Namespace string          `json:"namespace"`
	Running   []runningImage  `json:"running"`
	Desired   int             `json:"desired"`
	Ready     int             `json:"ready"`
	Since     time.Time       `json:"since,omitzero"` // when the newest of its pods was made
	Workloads []string        `json:"workloads"`
	TagDigest rollback.Digest `json:"tagDigest,omitempty"` // what the moving tag names, if it was asked
	Tag       string          `json:"tag,omitempty"`
	// Last is the last rollback, Lock who works on it now.
	Last   *rollback.Entry  `json:"last,omitempty"`
	Lock   *rollback.Lock   `json:"lock,omitempty"`
	Freeze *rollback.Freeze `json:"freeze,omitempty"`
	// Owed is everything that still has to be paid, oldest first; FollowUp is the first of it.
	Owed     []owedStatus `json:"owed,omitempty"`
	FollowUp *owedStatus  `json:"followUp,omitempty"`
	// Needless are debts that are over whose pull request is still open: merged, it would undo what was decided.
	Needless []owedStatus `json:"needless,omitempty"`

	debts []rollback.FollowUp // all of the record's, those included that are over
}

// owedStatus is a debt, and what to type to pay it.
type owedStatus struct {
	rollback.FollowUp
	// Next is the command that opens its pull request, "" where there is one.
	Next string `json:"next,omitempty"`
	// PRState is where GitHub says that its pull request stands; "" where it was not asked.
	PRState rollback.PullState `json:"prState,omitempty"`
}

type runningImage struct {
	Digest rollback.Digest `json:"digest"`
	Commit rollback.Commit `json:"commit,omitempty"`
	Pods   int             `json:"pods"`
	Ready  int             `json:"ready"`
}

func (e *Env) statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Category: look, Usage: "what each service runs, and where its last rollback stands",
		Description: "Without --service: every service of the environment, found by the images in its namespaces, in a number of calls that\n" +
			"does not grow with the services. With --service, or --tags, the registry is asked as well: moving tag and commit.",
		Flags: e.scopeFlags(optTags, optJSON, optLeft),
		Action: func(c *cli.Context) error {
			sw, err := e.switches(c, optTags, optJSON)
			if err != nil {
				return err
			}
			return e.leaving(c, func(left *outcome) error {
				report, err := e.status(c, sw["tags"])
				if err != nil {
					return err
				}
				left.addStatus(report)
				if sw["json"] {
					return e.json(report)
				}
				e.printStatus(report)
				return nil
			})
		},
	}
}

// addStatus leaves what is known of each service, with the service's name before each key where there may be several.
func (o *outcome) addStatus(r *statusReport) {
	var services []string
	for _, s := range r.Services {
		services = append(services, s.Service)
		key := func(k string) string {
			if o.scope.Service == "" {
				return s.Service + "." + k
			}
			return k
		}
		var digests, commits []string
		pods := 0
		for _, i := range s.Running {
			digests, commits = append(digests, string(i.Digest)), append(commits, string(i.Commit))
			pods += i.Pods
		}
		o.add(key("running"), strings.Join(digests, ","))
		o.add(key("commit"), strings.Trim(strings.Join(commits, ","), ","))
		o.add(key("pods"), pods)
		o.add(key("ready"), s.Ready)
		o.add(key("desired"), s.Desired)
		o.add(key("tag"), s.Tag)
		o.add(key("tagDigest"), s.TagDigest)
		var last rollback.Entry
		if s.Last != nil {
			last = *s.Last
		}
		o.add(key("state"), last.State)
		o.add(key("reason"), last.Reason)
		o.add(key("by"), last.By.User)
		o.add(key("frozen"), s.Freeze != nil)
		var owed rollback.FollowUp // the oldest
		if s.FollowUp != nil {
			owed = s.FollowUp.FollowUp
		}
		pr := owed.URL
		if pr == "" {
			pr = last.Merge.URL
		}
		o.add(key("owed"), owed.Kind)
		o.add(key("due"), owed.Due)
		o.add(key("overdue"), !owed.Due.IsZero() && r.At.After(owed.Due))
		o.add(key("pullRequest"), pr)
		o.message = s.Service + " runs " + strings.Join(digests, ", ") + "; rollback: " + rollbackWord(s, r.At)
	}
	if o.scope.Service == "" {
		o.message = r.Environment + " has " + count(len(services), "service", "services")
		o.add("services", strings.Join(services, ","))
	}
}

// status reads each namespace of the environment once, whatever the number of services.
func (e *Env) status(c *cli.Context, tags bool) (*statusReport, error) {
	file, err := config.Load(e.selector(c, "config"), e.Getenv, e.Dir)
	if err != nil {
		return nil, err
	}
	given := e.given(c)
	scope := rollback.Scope{Service: e.selector(c, "service"), Environment: e.selector(c, "environment")}
	var scoped config.Scoped
	namespaces := []string{}
	if scope.Service != "" {
		if scoped, err = file.Resolve(scope, given); err != nil {
			return nil, err
		}
		namespaces = append(namespaces, scoped.Namespace)
		tags = true
	} else {
		if scoped, err = file.Environment(scope.Environment, given, config.NeedCluster); err != nil {
			return nil, err
		}
		namespaces = file.Namespaces(scope.Environment, given)
	}
	cluster, err := e.clusterOf(c.Context, scoped)
	if err != nil {
		return nil, err
	}
	report := &statusReport{SchemaVersion: statusVersion, At: time.Now().UTC(), Environment: scope.Environment}
	inventories := make([]rollback.Inventory, len(namespaces))
	records := make([][]rollback.Record, len(namespaces))
	recordErrs := make([]error, len(namespaces))
	errs := make([]error, len(namespaces)+1)
	var wg sync.WaitGroup
	wg.Go(func() { report.Cluster, errs[len(namespaces)] = cluster.Identity(c.Context) })
	for i, ns := range namespaces {
		wg.Go(func() { inventories[i], errs[i] = cluster.Inventory(c.Context, ns) })
		wg.Go(func() {
			in := scoped
			in.Namespace = ns
			records[i], recordErrs[i] = e.recordsOf(cluster, in).ReadAll(c.Context)
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, lookFailed(c.Context, unreachable(err))
		}
	}
	byService := map[string]*serviceStatus{}
	for i, inv := range inventories {
		if recordErrs[i] != nil {
			report.NotRead = append(report.NotRead, "records in "+namespaces[i]+": "+recordErrs[i].Error())
		}
		report.NotRead = append(report.NotRead, inv.Unknown...)
		e.addInventory(byService, file, given, scope, inv, scoped)
		for _, r := range records[i] {
			if s := byService[r.Scope.Service]; s != nil {
				s.Last, s.Lock, s.Freeze, s.debts = r.Last, r.Lock, r.Freeze, r.Owed
			} else if scope.Service == "" || scope.Service == r.Scope.Service {
				byService[r.Scope.Service] = &serviceStatus{Service: r.Scope.Service, Namespace: namespaces[i], Last: r.Last, Lock: r.Lock, Freeze: r.Freeze, debts: r.Owed}
			}
		}
	}
	for _, s := range byService {
		if s.Last != nil { // the record knows the commits of its own images without asking the registry
			for i := range s.Running {
				switch s.Running[i].Digest {
				case s.Last.To.Digest:
					s.Running[i].Commit = s.Last.To.Commit
				case s.Last.From.Digest:
					s.Running[i].Commit = s.Last.From.Commit
				}
			}
		}
		report.Services = append(report.Services, *s)
	}
	slices.SortFunc(report.Services, func(a, b serviceStatus) int { return strings.Compare(a.Service, b.Service) })
	if scope.Service != "" && len(report.Services) == 0 {
		return nil, &rollback.Error{Exit: rollback.Usage, Production: rollback.NotChanged,
			What: fmt.Sprintf("nothing in namespace %s uses the image %s, and no rollback of it is recorded", scoped.Namespace, scoped.Image),
			Next: []string{"to see what there is: rollback status --environment " + scope.Environment}}
	}
	var asked sync.WaitGroup
	var debtsUnread []string
	asked.Go(func() { debtsUnread = e.askDebts(c.Context, file, given, report) })
	if tags {
		e.askRegistry(c.Context, file, given, report)
	}
	asked.Wait()
	report.NotRead = append(report.NotRead, debtsUnread...)
	return report, nil
}

// debtsLimit is how long the debts may take: without them there is still everything else to see.
const debtsLimit = 5 * time.Second

// askDebts sorts out what each service still owes. Whether a pull request has been merged since the record was written, GitHub
// knows: it is asked about those that are still owed, where there are credentials for it.
func (e *Env) askDebts(ctx context.Context, file *config.File, given config.Given, report *statusReport) (notRead []string) {
	ctx, cancel := context.WithTimeout(ctx, debtsLimit)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, registryCalls)
	for i := range report.Services {
		s := &report.Services[i]
		scope := rollback.Scope{Service: s.Service, Environment: report.Environment}
		if len(s.debts) == 0 {
			continue
		}
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			rec := rollback.Record{Owed: s.debts}
			needless := rec.Needless()
			pulls, err := e.pullsOf(ctx, file, given, scope, slices.Concat(rec.Open(), needless))
			if err != nil {
				mu.Lock()
				notRead = append(notRead, "pull requests of "+s.Service+": "+err.Error())
				mu.Unlock()
			}
			rec.Owed = rollback.Paid(rec.Owed, pulls)
			for _, f := range rec.Open() {
				o := owedStatus{FollowUp: f, PRState: pulls[f.PR].State}
				if f.PR == 0 {
					reason := "the rollback"
					if s.Last != nil {
						reason = s.Last.Reason
					}
					o.Next = e.typing.carry(f.Command(scope, reason))
				}
				s.Owed = append(s.Owed, o)
			}
			if len(s.Owed) > 0 {
				s.FollowUp = &s.Owed[0]
			}
			for _, f := range needless {
				if pulls[f.PR].State == rollback.PullOpen {
					s.Needless = append(s.Needless, owedStatus{FollowUp: f, PRState: rollback.PullOpen})
				}
			}
		})
	}
	wg.Wait()
	slices.Sort(notRead)
	return notRead
}

// pullsOf asks GitHub about the pull requests of debts; nothing where there is none to ask about, or no access.
func (e *Env) pullsOf(ctx context.Context, file *config.File, given config.Given, scope rollback.Scope, owed []rollback.FollowUp) (map[int]rollback.PullRequest, error) {
	if !slices.ContainsFunc(owed, func(f rollback.FollowUp) bool { return f.PR != 0 }) {
		return nil, nil
	}
	scoped, err := file.Resolve(scope, given)
	if err != nil {
		return nil, err
	}
	forge, _, err := e.forgeOf(scoped)
	if err != nil || forge == nil {
		return nil, err
	}
	defer forge.Close()
	return rollback.PullsOf(ctx, forge, owed)
}

// addInventory sorts the pods of a namespace by service: by the image they use.
func (e *Env) addInventory(byService map[string]*serviceStatus, file *config.File, given config.Given, scope rollback.Scope, inv rollback.Inventory, scoped config.Scoped) {
	names := map[string][]string{} // by repository
	services := func(image string) []string {
		ref, err := rollback.ParseReference(image)
		if err != nil {
			return nil
		}
		if scope.Service != "" {
			if ref.Repository == scoped.Image {
				return []string{scope.Service}
			}
			return nil
		}
		list, ok := names[ref.Repository]
		if !ok {
			list = file.ServicesOf(scope.Environment, ref.Repository, given)
			names[ref.Repository] = list
		}
		return list
	}
	at := func(name string) *serviceStatus {
		s := byService[name]
		if s == nil {
			s = &serviceStatus{Service: name, Namespace: inv.Namespace}
			byService[name] = s
		}
		return s
	}
	for _, w := range inv.Workloads {
		if !w.Restartable() || w.Owner != "" {
			continue
		}
		seen := map[string]bool{}
		for _, c := range w.Containers {
			for _, name := range services(c.Image) {
				if !seen[name] {
					seen[name] = true
					s := at(name)
					s.Workloads = append(s.Workloads, w.Ref.String())
					s.Desired += w.Rollout.Desired
				}
			}
		}
	}
	for _, p := range inv.Pods {
		if !p.Live() || p.Owner.Kind == "Job" || p.Owner.Kind == "CronJob" {
			continue
		}
		seen := map[string]bool{}
		for _, c := range p.Containers {
			for _, name := range services(c.Image) {
				if seen[name] {
					continue
				}
				seen[name] = true
				s := at(name)
				if p.Ready {
					s.Ready++
				}
				if p.Created.After(s.Since) {
					s.Since = p.Created
				}
				i := slices.IndexFunc(s.Running, func(r runningImage) bool { return r.Digest == c.Digest })
				if i < 0 {
					r := runningImage{Digest: c.Digest}
					if ref, err := rollback.ParseReference(c.Image); err == nil {
						if commit, err := rollback.ParseCommit(ref.Tag); err == nil {
							r.Commit = commit
						}
					}
					s.Running = append(s.Running, r)
					i = len(s.Running) - 1
				}
				s.Running[i].Pods++
				if p.Ready {
					s.Running[i].Ready++
				}
			}
		}
	}
	for _, s := range byService {
		slices.SortFunc(s.Running, func(a, b runningImage) int { return b.Pods - a.Pods })
		slices.Sort(s.Workloads)
	}
}

// registryCalls bounds how many services are asked for at the same time.
const registryCalls = 16

// askRegistry adds moving tag and commits, one call for each service. What cannot be read is said, and hides nothing else.
func (e *Env) askRegistry(ctx context.Context, file *config.File, given config.Given, report *statusReport) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, registryCalls)
	shared := map[config.Registry]func() (rollback.Registry, error){}
	for i := range report.Services {
		s := &report.Services[i]
		scoped, err := file.Resolve(rollback.Scope{Service: s.Service, Environment: report.Environment}, given, config.NeedRegistry)
		if err != nil {
			mu.Lock() // those asked before are on their way
			report.NotRead = append(report.NotRead, "registry of "+s.Service+": "+err.Error())
			mu.Unlock()
			continue
		}
		if shared[scoped.Registry] == nil {
			shared[scoped.Registry] = sync.OnceValues(func() (rollback.Registry, error) {
				r, _, err := e.registryOf(ctx, scoped)
				return r, err
			})
		}
		open := shared[scoped.Registry]
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			registry, err := open()
			var images []rollback.Image
			if err == nil {
				refs := []string{scoped.Tag}
				for _, r := range s.Running {
					if r.Digest != "" {
						refs = append(refs, string(r.Digest))
					}
				}
				images, err = registry.Images(ctx, scoped.Image, refs...)
			}
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				report.NotRead = append(report.NotRead, "registry of "+s.Service+": "+err.Error())
				return
			}
			s.Tag = scoped.Tag
			for _, image := range images {
				if image.HasTag(scoped.Tag) {
					s.TagDigest = image.Digest
				}
				for j := range s.Running {
					if s.Running[j].Digest == image.Digest && image.Commit() != "" {
						s.Running[j].Commit = image.Commit()
					}
				}
			}
		})
	}
	wg.Wait()
	slices.Sort(report.NotRead)
}

func (e *Env) printStatus(r *statusReport) {
	p := e.data()
	now := r.At
	e.printer().line(fmt.Sprintf("%s  %s", r.Environment, strings.TrimSpace(r.Cluster.Context+" "+r.Cluster.Server)))
	var rows [][]string
	tags := slices.ContainsFunc(r.Services, func(s serviceStatus) bool { return s.Tag != "" })
	head := []string{"SERVICE", "RUNS", "PODS", "SINCE"}
	if tags {
		head = append(head, "TAG")
	}
	head = append(head, "ROLLBACK")
	for _, s := range r.Services {
		var runs []string
		for _, i := range s.Running {
			name := i.Digest.Short()
			if name == "" {
				name = "(starting)"
			}
			if i.Commit != "" {
				name = i.Commit.Short() + " " + name
			}
			if len(s.Running) > 1 {
				name = fmt.Sprintf("%d× %s", i.Pods, name)
			}
			runs = append(runs, name)
		}
		if len(runs) == 0 {
			runs = []string{"nothing"}
		}
		since := "-"
		if !s.Since.IsZero() {
			since = rollback.Span(now.Sub(s.Since))
		}
		row := []string{s.Service, strings.Join(runs, ", "), fmt.Sprintf("%d/%d", s.Ready, s.Desired), since}
		if tags {
			row = append(row, tagWord(s))
		}
		rows = append(rows, append(row, rollbackWord(s, now)))
	}
	p.table(head, rows)
	for _, s := range r.Services {
		if other := s.overtaken(); other != "" {
			e.printer().line(e.typing.carry(fmt.Sprintf("! %s: runs %s, which is not what the rollback brought: something else was deployed since. If that is bad, too: rollback plan %s",
				s.Service, other, scopeFlagsText(rollback.Scope{Service: s.Service, Environment: r.Environment}))))
		}
		for _, f := range s.Owed {
			switch {
			case f.Kind == rollback.OwedReland && f.Next != "":
				e.printer().line(fmt.Sprintf("! %s: the merged revert #%d is still in the branch, and the next deploy ships it again: %s", s.Service, f.Of, f.Next))
			case f.Next != "":
				e.printer().line(fmt.Sprintf("! %s: no pull request is known for %s: %s", s.Service, f, f.Next))
			case f.PRState == rollback.PullClosed:
				e.printer().line(fmt.Sprintf("! %s: the pull request for %s was closed without being merged: %s", s.Service, f, f.URL))
			case len(s.Owed) > 1 || f.Kind == rollback.OwedReland:
				e.printer().line(fmt.Sprintf("  %s owes %s: %s", s.Service, f, f.URL))
			}
		}
	}
	for _, s := range r.Services {
		for _, f := range s.Needless {
			e.printer().line(fmt.Sprintf("! %s: #%d is still open, and merged it would undo what runs; close it: %s", s.Service, f.PR, f.URL))
		}
	}
	for _, n := range r.NotRead {
		e.printer().line("! not read: " + n)
	}
}

// overtaken names what runs and was deployed since the last rollback, "" for nothing.
func (s serviceStatus) overtaken() string {
	for _, r := range s.Running {
		if s.Last != nil && s.Last.Overtaken(r.Digest, r.Commit) {
			return strings.TrimSpace(r.Commit.Short() + " " + r.Digest.Short())
		}
	}
	return ""
}

// tagWord compares the moving tag with what runs.
func tagWord(s serviceStatus) string {
	switch {
	case s.Tag == "":
		return "?"
	case s.TagDigest == "":
		return ":" + s.Tag + " missing"
	case slices.ContainsFunc(s.Running, func(r runningImage) bool { return r.Digest == s.TagDigest }) && len(s.Running) == 1:
		return ":" + s.Tag + " same"
	}
	return ":" + s.Tag + " " + s.TagDigest.Short()
}

// recently is how long a rollback that is over is still shown.
const recently = 24 * time.Hour

// reasonShown is how much of a reason a row shows, in characters; --json has all of it.
const reasonShown = 80

// rollbackWord is where the last rollback stands, in one phrase.
func rollbackWord(s serviceStatus, now time.Time) string {
	var parts []string
	if l := s.Lock; l != nil {
		word := "at work"
		if !now.Before(l.ExpiresAt) {
			word = "lock expired"
		}
		parts = append(parts, fmt.Sprintf("%s: %s on %s since %s", word, l.Holder.User, l.Holder.Host, rollback.Span(now.Sub(l.TakenAt))))
	}
	if last := s.Last; last != nil && (last.State != rollback.Closed || now.Sub(last.StartedAt) < recently) {
		to := last.To.Commit.Short()
		if to == "" {
			to = last.To.Digest.Short()
		}
		word := fmt.Sprintf("%s %s, to %s", last.Kind, last.State, to)
		if last.Shipped != nil {
			word = fmt.Sprintf("reverted by %s", last.Shipped.Commit.Short())
		} else if last.State == rollback.Waiting && last.Merge.URL != "" {
			word = "waiting for " + last.Merge.URL
		}
		if last.Kind == rollback.KindUndo && last.State == rollback.Closed {
			word = "undone, back on " + to
		}
		parts = append(parts, fmt.Sprintf("%s, %s ago by %s: %s", word, rollback.Span(now.Sub(last.StartedAt)), rollback.Printable(last.By.User), clip(rollback.Printable(last.Reason), reasonShown)))
	}
	if s.Freeze != nil {
		parts = append(parts, "frozen "+rollback.Span(now.Sub(s.Freeze.Since)))
	}
	for _, f := range s.Owed {
		word := f.Kind
		if f.PR != 0 {
			word += fmt.Sprintf(" #%d", f.PR)
		} else if f.Of != 0 {
			word += fmt.Sprintf(" of #%d", f.Of)
		}
		if f.PRState == rollback.PullClosed {
			word += " was closed unmerged,"
		}
		if left := f.Due.Sub(now); left < 0 {
			parts = append(parts, word+" overdue by "+rollback.Span(-left))
		} else {
			parts = append(parts, word+" due in "+rollback.Span(left))
		}
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, "; ")
}
