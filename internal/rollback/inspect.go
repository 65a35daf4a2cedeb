package rollback

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// find adds a finding.
func (s *Survey) find(severity Severity, code, text, remedy string) {
	s.Findings = append(s.Findings, Finding{Severity: severity, Code: code, Text: text, Remedy: remedy})
}

// KeepTag is the tag that protects an outgoing image from rules that delete untagged images, and that names it for an
// undo. It is derived from the digest: the same image always gets the same tag, so nothing piles up, and the tag never
// has to be moved, which an immutable repository would refuse.
func KeepTag(d Digest) string { return "rollback-keep-" + d.Hex()[:min(12, len(d.Hex()))] }

// inspect turns what was read into findings. It reads like the list of what goes wrong at night; each has its remedy.
func (s *Survey) inspect(w World, elsewhere []Inventory, elseErrs []error) {
	s.inspectIdentity()
	s.inspectRegistry()
	s.inspectWorkloads()
	s.inspectBystanders(elsewhere, elseErrs)
	s.inspectRights()
	s.inspectRecord()
	s.inspectOwed()
	s.inspectRevert(w)
	s.inspectBuilds()
	for _, u := range slices.Concat(s.Repository.Unknown, s.Inventory.Unknown) {
		s.find(Info, "not-checked", "not checked: "+u, "")
	}
	slices.SortStableFunc(s.Findings, func(a, b Finding) int { return a.Severity.rank() - b.Severity.rank() })
}

func (v Severity) rank() int { return slices.Index([]Severity{Block, Warn, Info}, v) }

// inspectIdentity compares the account we would act in with the one configured.
func (s *Survey) inspectIdentity() {
	r := s.Repository
	if want := s.Place.Account; want != "" && r.Account != "" && r.Account != want {
		s.find(Block, "account", fmt.Sprintf("the registry is in account %s, the configuration says %s", r.Account, want), "correct registry.account, or use credentials of that account")
	}
	if r.CallerAccount != "" && r.Account != "" && r.CallerAccount != r.Account {
		s.find(Warn, "cross-account", fmt.Sprintf("acting as %s, of account %s, in the registry of account %s", r.Caller, r.CallerAccount, r.Account), "fine if that is how it is set up; else use credentials of the registry's account")
	}
}

// moving tells whether the request moves the tag at all.
func (s *Survey) moving() bool {
	switch s.Request.Act {
	case ActRun, ActRetag, ActUndo:
		return true
	}
	return false
}

func (s *Survey) inspectRegistry() {
	if !s.moving() || s.Target.Digest == "" {
		return
	}
	tag, repo, target := s.Place.Tag, s.Repository, s.Target
	if s.TagNow.Digest == "" {
		s.find(Warn, "tag-missing", fmt.Sprintf("%s:%s does not exist yet; it will be created", s.Place.Repository, tag), "")
	} else if !repo.Mutability.Movable(tag) && s.TagNow.Digest != target.Digest {
		s.find(Block, "tag-immutable", fmt.Sprintf("repository %s does not let :%s be moved", repo.Name, tag),
			fmt.Sprintf("let this one tag move: set the tag mutability to IMMUTABLE_WITH_EXCLUSION with the filter %q; or pin the workload: %s", tag, s.pinCommand()))
	}
	switch {
	case s.Request.Method == MethodRevert: // builds the target anew
	case target.Status == Archived:
		s.find(Block, "target-archived", "the target is archived: a pull answers 404",
			fmt.Sprintf("restore it, which takes up to 20 minutes: aws ecr update-image-storage-class --repository-name %s --image-id imageDigest=%s --target-storage-class STANDARD", repo.Name, target.Digest))
	case target.Status == Activating:
		s.find(Block, "target-archived", "the target is being restored from the archive: up to 20 minutes", "run again when it is active")
	}
	if s.Resume == nil && s.Request.Act != ActUndo {
		if bad := pastOf(s.Record)[target.Digest].bad; bad != "" {
			s.find(Block, "marked-bad", "the target was "+bad, "choose another: rollback candidates "+s.Request.Scope.flags())
		}
		if t, c := target.Time(), s.Current.Time(); !t.IsZero() && !c.IsZero() && t.After(c) {
			s.find(Warn, "newer", fmt.Sprintf("the target is newer than what runs (%s): this rolls forward", Span(t.Sub(c))), "")
		}
	}

	// The target will carry the moving tag, the outgoing image a keep tag in its place.
	after := slices.Concat(target.Tags, []string{tag})
	if threat := FateOf(repo.Lifecycle, target, after, s.all, s.At).Threat(s.At, lifecycleHorizon); threat != "" {
		s.find(Warn, "target-expires", "target: "+threat, "a moved tag does not renew an image's age: merge the revert before then, or exempt the image by a rule of higher priority")
	}
	if out := s.TagNow; out.Digest != "" && out.Digest != target.Digest {
		tags := slices.DeleteFunc(slices.Clone(out.Tags), func(t string) bool { return t == tag })
		tags = append(tags, KeepTag(out.Digest))
		if threat := FateOf(repo.Lifecycle, out, tags, s.all, s.At).Threat(s.At, lifecycleHorizon); threat != "" {
			s.find(Warn, "outgoing-expires", "outgoing image: "+threat, fmt.Sprintf("undo and evidence need it: add a rule of higher priority for the tag prefix %q", "rollback-keep-"))
		}
	}
	if c := s.Current.Digest; c != "" && c != target.Digest && s.Resume == nil && s.Manifests[c].Bytes == nil {
		s.find(Warn, "current-gone", fmt.Sprintf("what the pods run (%s) is not in repository %s: it cannot be kept, and an undo cannot bring it back", describe(s.Current), repo.Name), "")
	}
	if s.TagNow.Digest != "" && s.TagNow.Digest != s.Current.Digest && s.TagNow.Digest != target.Digest {
		s.find(Warn, "tag-ahead", fmt.Sprintf(":%s names %s, which no pod runs: any pod that restarts now would ship it", tag, describe(s.TagNow)), "")
	}
}

// pinCommand is how to pin the first affected workload to the target by digest, the way that needs no moving tag.
func (s *Survey) pinCommand() string {
	for _, w := range s.Affected {
		for _, c := range w.Containers {
			if _, ok := s.uses(c); ok {
				return fmt.Sprintf("kubectl -n %s set image %s %s=%s/%s@%s", w.Ref.Namespace, w.Ref, c.Name, s.Repository.Host, s.Repository.Name, s.Target.Digest)
			}
		}
	}
	return "image: " + s.Repository.Host + "/" + s.Repository.Name + "@" + string(s.Target.Digest)
}

// describe is an image in one phrase: its commit if it has one, and its digest.
func describe(i Image) string {
	if c := i.Commit(); c != "" {
		return c.Short() + " (" + i.Digest.Short() + ")"
	}
	return i.Digest.Short()
}

// hinders is what it means that a workload cannot be restarted from here: it blocks an act that restarts, it is worth a
// warning where only the tag moves, and it is nothing where nothing is restarted ("").
func (s *Survey) hinders() Severity {
	switch s.Request.Act {
	case ActRun, ActUndo, ActRestart:
		return Block
	case ActRetag:
		return Warn
	}
	return ""
}

func (s *Survey) inspectWorkloads() {
	if s.Request.Act == ActLook {
		return
	}
	hinders := s.hinders()
	ns := s.Place.Namespace
	for _, want := range s.Place.Workloads {
		if !slices.ContainsFunc(s.Inventory.Workloads, func(w Workload) bool { return w.Ref.String() == want }) {
			s.find(Block, "no-workload", fmt.Sprintf("%s is configured, but not in namespace %s", want, ns), "correct `workloads` in the configuration")
		}
	}
	if len(s.Affected) == 0 && s.Request.Act != ActRetag {
		text := fmt.Sprintf("no Deployment, StatefulSet or DaemonSet in namespace %s pulls %s:%s", ns, s.Place.Repository, s.Place.Tag)
		remedy := "check namespace, image and tag: rollback doctor " + s.Request.Scope.flags()
		if len(s.Bystanders) > 0 {
			text += fmt.Sprintf("; %s by another tag or cannot be restarted", plural(len(s.Bystanders), "object uses the repository", "objects use the repository"))
			remedy = "a retag changes nothing for them: change their image, or revert the commit"
		}
		s.find(Block, "no-workload", text, remedy)
	}
	desired, zero := 0, 0
	for _, w := range s.Affected {
		name := w.Ref.String()
		s.inspectContainers(w)
		if w.Paused && hinders != "" {
			s.find(hinders, "paused", name+" is paused: a restart would do nothing until it is resumed", fmt.Sprintf("kubectl -n %s rollout resume %s", ns, name))
		}
		if w.Strategy == OnDelete && hinders != "" {
			s.find(hinders, "on-delete", name+" has the update strategy OnDelete: it keeps its pods until somebody deletes them",
				fmt.Sprintf("move the tag alone (%s), delete its pods one after the other, then: rollback verify %s", s.retagCommand(), s.Request.Scope.flags()))
		}
		if w.Rollout.Partition > 0 && hinders != "" {
			s.find(hinders, "partition", fmt.Sprintf("%s has partition %d: pods below that ordinal keep what they run", name, w.Rollout.Partition), fmt.Sprintf(`kubectl -n %s patch %s --type merge -p '{"spec":{"updateStrategy":{"rollingUpdate":{"partition":0}}}}'`, ns, name))
		}
		switch w.ManagedBy {
		case "argocd", "flux":
			if hinders != Block {
				break
			}
			s.find(Warn, "gitops", fmt.Sprintf("%s is managed by %s: a sync may take the restart stamp away and turn the pods over once more, on the same image", name, w.ManagedBy), "pause its automatic sync until the revert is merged, if that hurts")
		case "helm":
			s.find(Info, "helm", name+" is managed by Helm: the next release ships what its chart says", "")
		}
		if w.Rollout.Desired == 0 {
			zero++
			s.find(Warn, "replicas-zero", name+" has 0 replicas: nothing there can prove the target", fmt.Sprintf("kubectl -n %s scale %s --replicas=1", ns, name))
		}
		desired += w.Rollout.Desired
		if w.Ordered {
			for _, p := range s.Inventory.Pods {
				if p.Owner == w.Ref && p.Live() && !p.Ready && brokenPod(p) != "" {
					s.find(Warn, "ordered-stuck", fmt.Sprintf("%s waits for ever on its broken pod %s (OrderedReady)", name, p.Name),
						fmt.Sprintf("once the tag has moved: kubectl -n %s delete pod %s", ns, p.Name))
				}
			}
		}
	}
	if len(s.Affected) > 0 && zero == len(s.Affected) && s.Request.Act != ActRetag {
		s.find(Block, "nothing-runs", "every affected workload has 0 replicas: nothing would prove the rollback", "scale up first; or move the tag alone: "+s.retagCommand())
	}
	s.inspectServing(desired)
	s.inspectConfigs()
}

// retagCommand moves the tag and restarts nothing.
func (s *Survey) retagCommand() string {
	return fmt.Sprintf("rollback retag %s --to %s", s.Request.Scope.flags(), s.Target.Digest)
}

func (s *Survey) inspectContainers(w Workload) {
	if !slices.ContainsFunc(w.Containers, func(c Container) bool {
		ref, ok := s.uses(c)
		return ok && s.moves(ref)
	}) {
		s.find(Block, "pinned", fmt.Sprintf("%s has no container that follows %s:%s: moving the tag changes nothing there", w.Ref, s.Place.Repository, s.Place.Tag),
			"take it out of `workloads` in the configuration, or let it pull the tag")
		return
	}
	for _, c := range w.Containers {
		ref, ok := s.uses(c)
		if !ok {
			continue
		}
		what := fmt.Sprintf("%s, %s %q", w.Ref, c.Role, c.Name)
		if s.Repository.Host != "" && ref.Host != s.Repository.Host {
			s.find(Block, "registry-host", fmt.Sprintf("%s pulls from %s, but the tag is moved in %s", what, ref.Host, s.Repository.Host),
				"configure the registry the cluster pulls from; a replica or a cache follows late or never")
		}
		if s.Request.Act == ActVerify {
			continue
		}
		switch {
		case !s.moves(ref):
			s.find(Warn, "pinned", fmt.Sprintf("%s uses %s, which does not follow :%s", what, c.Image, s.Place.Tag), "it keeps its image")
		case c.PullPolicy != "Always":
			s.find(Block, "pull-policy", fmt.Sprintf("%s has imagePullPolicy %s: a restarted pod runs the image its node has cached", what, c.PullPolicy),
				"set imagePullPolicy: Always; or pin the digest: "+s.pinCommand())
		}
	}
}

// waitingReasons are the states of a container that do not pass by themselves while the image or its configuration is wrong.
var waitingReasons = []string{"ImagePullBackOff", "ErrImagePull", "RegistryUnavailable", "SignatureValidationFailed", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "CrashLoopBackOff",
	"CreateContainerConfigError", "PreCreateHookError", "CreateContainerError", "PreStartHookError", "RunContainerError", "PostStartHookError"}

// brokenPod is the reason a pod does not come up, "" if none is reported.
func brokenPod(p Pod) string {
	for _, c := range p.Containers {
		if slices.Contains(waitingReasons, c.Waiting) {
			return c.Waiting
		}
	}
	if p.Unschedulable != "" {
		return "Unschedulable"
	}
	return ""
}

// inspectServing counts who serves now: a rollout that is half done shows here.
func (s *Survey) inspectServing(desired int) {
	if len(s.Running) > 1 {
		images := map[Digest]bool{}
		var parts []string
		for _, r := range s.Running {
			images[r.Image] = true
			name := r.Reported.Short()
			if r.Commit != "" {
				name = r.Commit.Short()
			}
			parts = append(parts, fmt.Sprintf("%d × %s (%d ready)", r.Pods, name, r.Ready))
		}
		if len(images) > 1 {
			s.find(Warn, "mixed", "the pods run different images: "+strings.Join(parts, ", "), "")
		}
	}
	ready, broken := 0, map[string]int{}
	for _, p := range s.Inventory.Pods {
		if !s.affects(p) || !p.Live() {
			continue
		}
		if p.Ready {
			ready++
		} else if why := brokenPod(p); why != "" {
			broken[why]++
		} else if p.Lost {
			broken[p.Node+" doesn't answer"]++
		}
	}
	if desired > 0 && ready < desired {
		text := fmt.Sprintf("%d of %s ready", ready, plural(desired, "pod", "pods"))
		var whys []string
		for why, n := range broken {
			whys = append(whys, fmt.Sprintf("%d × %s", n, why))
		}
		slices.Sort(whys)
		if len(whys) > 0 {
			text += ": " + strings.Join(whys, ", ")
		}
		s.find(Info, "not-ready", text, "")
	}
	var orphans []string
	for _, p := range s.Inventory.Pods {
		if !p.Live() || s.affects(p) || slices.ContainsFunc(s.Bystanders, func(w Workload) bool { return w.Ref == p.Owner }) {
			continue
		}
		for _, c := range p.Containers {
			if ref, ok := s.uses(c.Container); ok && s.moves(ref) {
				orphans = append(orphans, p.Owner.String())
				break
			}
		}
	}
	slices.Sort(orphans)
	if orphans = slices.Compact(orphans); len(orphans) > 0 && s.hinders() != "" {
		s.find(s.hinders(), "unmanaged", fmt.Sprintf("pods of %s use the tag, and this program cannot restart them", strings.Join(orphans, ", ")),
			fmt.Sprintf("move the tag alone (%s), restart them through their own controller, then compare: %s", s.retagCommand(), s.imagesCommand()))
	}
}

// imagesCommand shows what every pod of the namespace runs, by digest.
func (s *Survey) imagesCommand() string {
	return fmt.Sprintf("kubectl -n %s get pods -o 'custom-columns=POD:.metadata.name,IMAGE:.status.containerStatuses[*].imageID'", s.Place.Namespace)
}

// inspectConfigs compares the configuration's age with the target's: old code may not know a new configuration.
func (s *Survey) inspectConfigs() {
	if s.Target.Digest == "" || s.Target.Time().IsZero() || s.Target.Digest == s.Current.Digest {
		return
	}
	used := map[string]bool{}
	for _, w := range s.Affected {
		for _, name := range w.ConfigMaps {
			used[name] = true
		}
	}
	for _, c := range s.Inventory.Configs {
		if used[c.Name] && c.Changed.After(s.Target.Time()) {
			text := fmt.Sprintf("ConfigMap %s changed %s, after the target was pushed, and is not rolled back", c.Name, ago(s.At, c.Changed))
			if len(c.Keys) > 0 {
				text += " (keys: " + strings.Join(c.Keys[:min(len(c.Keys), 8)], ", ") + ")"
			}
			s.find(Warn, "config-newer", text, "make sure the older code can read it")
		}
	}
}

func (s *Survey) inspectBystanders(elsewhere []Inventory, elseErrs []error) {
	if !s.moving() {
		return
	}
	for _, w := range s.Bystanders {
		follows := slices.ContainsFunc(w.Containers, func(c Container) bool {
			ref, ok := s.uses(c)
			return ok && s.moves(ref)
		})
		name := w.Ref.String()
		switch {
		case !follows:
			s.find(Info, "bystander", name+" uses the repository by another tag and keeps its image", "")
		case w.Owner != "":
			s.find(s.hinders(), "owned", fmt.Sprintf("%s belongs to %s, which would undo or ignore a restart from outside", name, w.Owner),
				fmt.Sprintf("move the tag alone (%s), restart it through %s, then: rollback verify %s", s.retagCommand(), w.Owner, s.Request.Scope.flags()))
		case w.Ref.Kind == "CronJob" && w.Suspended:
			s.find(Info, "bystander", name+" is suspended; it runs the target when it is resumed", "")
		case w.Ref.Kind == "CronJob":
			s.find(Info, "bystander", fmt.Sprintf("%s runs the target from its next start on (schedule %s)", name, w.Schedule), "")
		case w.Ref.Kind == "Job" && !w.Finished:
			s.find(Info, "bystander", name+" keeps running what it runs; new pods of it pull the target", "")
		case w.Ref.Kind == "Job":
		case len(s.Place.Workloads) > 0:
			s.find(Warn, "bystander", name+" follows the tag but is not in the configured `workloads`: it takes the target whenever it restarts", "")
		default:
			s.find(Warn, "bystander", name+" follows the tag and cannot be restarted by this program", "")
		}
	}
	for i, other := range s.Place.Others {
		if err := elseErrs[i]; err != nil {
			s.find(Warn, "shared-tag", fmt.Sprintf("environment %s pulls the same tag and could not be read: %s", other.Environment, err), "what runs there takes the target at its next restart")
			continue
		}
		var names []string
		for _, w := range elsewhere[i].Workloads {
			if slices.ContainsFunc(w.Containers, func(c Container) bool {
				ref, ok := s.uses(c)
				return ok && s.moves(ref)
			}) {
				names = append(names, w.Ref.String())
			}
		}
		if len(names) > 0 {
			s.find(Warn, "shared-tag", fmt.Sprintf("environment %s pulls the same tag: %s will take the target at the next restart", other.Environment, strings.Join(names, ", ")), "give each environment a tag of its own")
		}
	}
}

// busyWindow and busyCount say when rollbacks of a scope come so fast that another one is likely a panic.
const (
	busyWindow = time.Hour
	busyCount  = 2
)

func (s *Survey) inspectRecord() {
	if s.Request.Act == ActLook || s.Request.Act == ActVerify {
		return
	}
	last := s.Record.Last
	switch {
	case s.Held != nil && s.Request.Steal == "" && (s.Resume != nil || s.Abandoned != nil): // it is at work, and the lock says so
	case s.Resume != nil:
		s.find(Info, "resume", fmt.Sprintf("goes on with %s %s, started %s by %s, %s", s.Resume.Kind, s.Resume.ID, ago(s.At, s.Resume.StartedAt), s.Resume.By.User, s.Resume.State), "")
	case s.Abandoned != nil:
		s.find(Warn, "unfinished", fmt.Sprintf("%s %s to %s was started %s by %s and not finished; this is a new one", s.Abandoned.Kind, s.Abandoned.ID, describeTarget(s.Abandoned.To), ago(s.At, s.Abandoned.StartedAt), s.Abandoned.By.User), "")
	case last != nil && last.State == Mitigated && (s.Request.Act == ActRun || s.Request.Act == ActRetag) && s.inEffect() && s.Target.Digest != last.To.Digest:
		text := fmt.Sprintf("%s %s to %s (%s, by %s: %s) is in effect and still open: this goes on to %s", last.Kind, last.ID, describeTarget(last.To), ago(s.At, last.StartedAt), last.By.User, Printable(last.Reason), describe(s.Target))
		if s.Request.To == Previous { // the same command again, after a lost connection or by a retried build, must not step back twice
			s.find(Block, "still-open", text, fmt.Sprintf("if that is meant, name the target: --to %s", s.Target.Digest))
		} else {
			s.find(Warn, "still-open", text, "to take that one back instead: rollback undo "+s.Request.Scope.flags())
		}
	}
	if m := s.stranded(); m != nil {
		word, remedy := "may still be open", "close it when this is done, or it undoes the code all the same"
		switch s.Pulls[m.PR].State {
		case PullOpen:
			word = "is still open"
			if s.Request.Act == ActRun && slices.Contains(s.supersedes(), m.PR) {
				remedy = "the pull request of this rollback takes it in, and it is closed"
			}
		case PullMerged:
			word, remedy = "is merged by now", "the next deploy ships that: find its build before you go on"
		}
		if s.Pulls[m.PR].State != PullClosed {
			s.find(Warn, "revert-waits", fmt.Sprintf("its pull request %s %s", m.URL, word), remedy)
		}
	}
	if names := s.strayed(); len(names) > 0 {
		s.find(Info, "restart-again", fmt.Sprintf("%s restarted by it run something else than its target: they are restarted once more", plural(len(names), "pod", "pods")), "")
	}
	if s.Request.Act == ActUndo && s.Resume == nil && last != nil && !last.State.unfinished() {
		if last.Kind == KindUndo {
			s.find(Block, "already-undone", fmt.Sprintf("the last act was an undo already (%s, %s, by %s): this takes the undo back and goes to %s", last.ID, ago(s.At, last.StartedAt), last.By.User, describe(s.Target)),
				fmt.Sprintf("to reach another version: rollback candidates %s", s.Request.Scope.flags()))
		}
		if t := s.TagNow.Digest; t != last.landed().Digest && t != last.From.Digest {
			s.find(Block, "moved-on", fmt.Sprintf(":%s has moved on since %s %s and names %s: this takes that away as well", s.Place.Tag, last.Kind, last.ID, describe(s.TagNow)),
				fmt.Sprintf("to go back from what runs now: rollback run %s --to previous", s.Request.Scope.flags()))
		}
	}
	if s.Request.Act == ActRun && s.Resume == nil {
		n := 0
		entries := slices.Clone(s.Record.History)
		if last != nil {
			entries = append(entries, summary(*last))
		}
		for _, e := range entries {
			if e.Kind == KindRollback && s.At.Sub(e.Started) < busyWindow {
				n++
			}
		}
		if n >= busyCount {
			s.find(Warn, "again", fmt.Sprintf("this is rollback number %d of this scope within an hour", n+1), "if the symptom stayed, the image may not be the cause")
		}
	}
}

func describeTarget(t Target) string { return describe(Image{Digest: t.Digest, Tags: t.Tags}) }
