package rollback

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// What is owed. A rollback by tag leaves the branch as it is, and the undo of one leaves a merged revert in it: either way
// the next deploy ships something else than what runs. The record keeps each such debt until a merged pull request pays it;
// this file says how debts come, meet, and go. All of it is decided from data.

// Kinds of what is owed.
const (
	OwedRevert = "revert-pr" // the branch still holds what a rollback took out of production
	OwedReland = "reland-pr" // the branch holds a revert whose rollback was undone
)

// OwedLimit is how many debts a record keeps, those included that are over.
const OwedLimit = 20

// FollowUp is what is owed: a merged pull request, by Due.
type FollowUp struct {
	Kind string `json:"kind"`
	// Rollback is the ID of the rollback, or of the undo, that left it behind.
	Rollback string `json:"rollback,omitempty"`
	// Range is what has to be taken out of the branch; Of is the merged pull request that has to be taken back. One of the
	// two is set, neither where the images told no commits.
	Range Range     `json:"range,omitzero"`
	Of    int       `json:"of,omitempty"`
	Due   time.Time `json:"due"`
	// PR and URL are the pull request that pays it; 0 and "" while there is none.
	PR   int    `json:"pr,omitempty"`
	URL  string `json:"url,omitempty"`
	Done bool   `json:"done,omitempty"` // it is merged
	// ReplacedBy is a later rollback whose own debt takes in all of this one. When that rollback is undone, this one stands
	// again.
	ReplacedBy string `json:"replacedBy,omitempty"`
	// Void is the act that brought back to production what this was to take out of the branch.
	Void string `json:"void,omitempty"`
	// Stands is the undo because of which it is not void any more, "" if it never was.
	Stands string `json:"stands,omitempty"`
}

// String names the debt in a few words.
func (f FollowUp) String() string {
	switch {
	case f.Kind == OwedReland:
		return fmt.Sprintf("the reland of #%d", f.Of)
	case f.Of != 0:
		return fmt.Sprintf("the revert of #%d", f.Of)
	case f.Range == Range{}:
		return "the revert"
	}
	return "the revert of " + f.Range.String()
}

// Command is what to type to open the pull request that pays it.
func (f FollowUp) Command(scope Scope, reason string) string {
	what := "--pr N"
	switch {
	case f.Kind == OwedReland:
		return fmt.Sprintf("rollback reland %s --pr %d --reason %s", scope.flags(), f.Of, quoted(reason))
	case f.Of != 0:
		what = fmt.Sprintf("--pr %d", f.Of)
	case f.Range != Range{}:
		what = f.Range.flags()
	}
	return fmt.Sprintf("rollback revert %s %s --reason %s", scope.flags(), what, quoted(reason))
}

// Open are the debts that still have to be paid, oldest first.
func (r Record) Open() []FollowUp {
	var list []FollowUp
	for _, f := range r.Owed {
		if f.open(r.Owed) {
			list = append(list, f)
		}
	}
	return list
}

// open tells whether a debt among all still has to be paid. One that was replaced stands again when what replaced it is void.
func (f FollowUp) open(all []FollowUp) bool {
	if f.Done || f.Void != "" {
		return false
	}
	return f.ReplacedBy == "" || !slices.ContainsFunc(all, func(by FollowUp) bool { return by.Rollback == f.ReplacedBy && by.Void == "" })
}

// covers tells whether undoing a range undoes another one with it: it lies in it, as the first-parent line from the first
// range's Bad down tells.
func covers(line []Change, r, inner Range) bool {
	if samePrefix(r.Good, inner.Good) && samePrefix(r.Bad, inner.Bad) {
		return true
	}
	undone, _ := UndoneBy(line, r)
	if FindChange(undone, inner.Bad) < 0 {
		return false
	}
	return samePrefix(r.Good, inner.Good) || FindChange(undone, inner.Good) >= 0
}

// Needless are the debts that are over whose pull request, if it is still open, would take out of the branch what production
// is to run, or bring back what it is not to.
func (r Record) Needless() []FollowUp {
	var list []FollowUp
	for _, f := range r.Owed {
		if f.Void != "" && f.PR != 0 && !f.Done {
			list = append(list, f)
		}
	}
	return list
}

// stranded is the pull request of a rollback by revert that waited for its merge, where this act does not go on with it but
// goes elsewhere or takes it back; nil where there is none.
func (s *Survey) stranded() *Merge {
	last := s.Record.Last
	if last == nil || last.Kind != KindRollback || last.Method != MethodRevert || last.Merge.PR == 0 || last.Merge.Commit != "" {
		return nil
	}
	switch {
	case s.Abandoned != nil && s.Abandoned.ID == last.ID:
	case s.Request.Act == ActUndo && s.Resume == nil:
	default:
		return nil
	}
	return &last.Merge
}

// supersedes are the pull requests whose whole work the revert of this act does as well.
func (s *Survey) supersedes() []int {
	d := s.dues()
	var list []int
	for _, f := range d.Replaces {
		if f.PR != 0 && s.Pulls[f.PR].State != PullClosed {
			list = append(list, f.PR)
		}
	}
	if m := s.stranded(); m != nil && s.Pulls[m.PR].State != PullClosed && d.Known &&
		covers(s.Changes, d.Range, Range{Good: s.Record.Last.To.Commit, Bad: s.Record.Last.From.Commit}) {
		list = append(list, m.PR)
	}
	return list
}

// nextStranded is what to type about a pull request that nothing here will close.
func (r *run) nextStranded() []string {
	m := r.survey.stranded()
	if m == nil {
		return nil
	}
	switch state := r.survey.Pulls[m.PR].State; {
	case state == PullClosed || r.owing != nil && slices.Contains(r.survey.supersedes(), m.PR):
		return nil
	case state == PullMerged:
		return []string{"the revert pull request of the rollback that was given up is merged, and the next deploy ships it: look at " + m.URL}
	}
	return []string{"the revert pull request of the rollback that was given up is still open; close it, or it undoes the code all the same: " + m.URL}
}

// dues is what a rollback means for the branch: the range that its revert takes out, and what becomes of older debts.
type dues struct {
	Range Range
	Known bool
	From  Commit // what ran before: Range reaches further where older debts are part of it
	// Forward says that the target is newer than what runs, so that there is nothing to revert.
	Forward bool
	// Replaces are debts that the same revert pays, Voids those that the target makes needless.
	Replaces, Voids []FollowUp
}

// dues finds out what is owed after the rollback. What has been taken away before is taken out of the branch as well, in
// one revert with what is taken away now: two pull requests would conflict with each other, and the older one, merged
// alone, would ship the very code that this rollback leaves. So the range reaches from what must run up to the newest
// commit that was ever taken away and not reverted.
func (s *Survey) dues() dues {
	if s.due != nil {
		return *s.due
	}
	var d dues
	from, to := s.Current.Commit(), s.Target.Commit()
	mine := ""
	if r := s.Resume; r != nil {
		mine = r.ID
		if r.From.Commit != "" {
			from, to = r.From.Commit, r.To.Commit
		}
	} else if a := s.givenUp(); a != nil && a.From.Commit != "" {
		from = a.From.Commit
	}
	if from == "" || to == "" || samePrefix(from, to) {
		return d
	}
	before := slices.DeleteFunc(slices.Clone(s.Record.Owed), func(f FollowUp) bool { return mine != "" && f.Rollback == mine })
	rec := Record{Owed: before}
	var owed []FollowUp
	for _, f := range rec.Open() {
		if f.Kind == OwedRevert {
			owed = append(owed, f)
		}
	}
	bad := from
	for _, f := range slices.Backward(owed) { // production stands where that one left it
		if f.Range.Good == "" || !samePrefix(f.Range.Good, from) {
			continue
		}
		if samePrefix(f.Range.Bad, to) {
			return dues{Forward: true, Voids: []FollowUp{f}}
		}
		if !s.newer(to, f.Range.Bad) {
			bad, d.Replaces = f.Range.Bad, append(d.Replaces, f)
		}
		break
	}
	if s.newer(to, bad) {
		return dues{Forward: true}
	}
	d.Range, d.Known, d.From = Range{Good: to, Bad: bad}, true, from
	given := s.givenUp()
	for _, f := range owed {
		if slices.Contains(d.Replaces, f) {
			continue
		}
		if given != nil && f.Rollback == given.ID || f.Range != (Range{}) && covers(s.Changes, d.Range, f.Range) {
			d.Replaces = append(d.Replaces, f)
		}
	}
	return d
}

// newer tells whether the branch says that a commit came after another one.
func (s *Survey) newer(a, b Commit) bool {
	i, j := FindChange(s.Changes, a), FindChange(s.Changes, b)
	return i >= 0 && j > i
}

// Paid marks the debts whose pull request is merged. One that was merged although its debt is void, or before anybody saw that,
// has to be taken back.
func Paid(list []FollowUp, pulls map[int]PullRequest) []FollowUp {
	list = slices.Clone(list)
	for i := range list {
		f := &list[i]
		if p, ok := pulls[f.PR]; !ok || f.PR == 0 || p.State != PullMerged || f.Done {
			continue
		}
		f.Done = true
		if back := f.backwards(f.Void, f.Due); f.Void != "" && !slices.ContainsFunc(list, back.same) {
			list = append(list, back)
		}
	}
	return list
}

// backwards is the debt to take a paid one back, that an act leaves.
func (f FollowUp) backwards(by string, due time.Time) FollowUp {
	kind := OwedReland
	if f.Kind == OwedReland {
		kind = OwedRevert
	}
	return FollowUp{Kind: kind, Of: f.PR, Rollback: by, Due: due}
}

// same tells whether two debts are of the same act and for the same reason.
func (f FollowUp) same(g FollowUp) bool {
	return f.Rollback == g.Rollback && f.Kind == g.Kind && f.Of == g.Of
}

// put adds a debt, or takes the place of the one that the same act left for the same reason.
func put(list []FollowUp, f FollowUp) []FollowUp {
	i := slices.IndexFunc(list, f.same)
	if i < 0 {
		return append(list, f)
	}
	list[i] = f
	return list
}

// pruned leaves out what is over and nothing hangs on: debts paid or void of acts that cannot be undone any more, because
// only the last one can. A pull request that may still be open hangs on its debt, unless it pays another one as well: merged all the
// same, it has to be taken back.
func pruned(list []FollowUp, last string, pulls map[int]PullRequest) []FollowUp {
	var kept []FollowUp
	for _, f := range list {
		by := slices.ContainsFunc(list, func(h FollowUp) bool {
			return h.Rollback == f.ReplacedBy && (h.Rollback == last || h.open(list))
		})
		needless := f.Void != "" && !f.Done && f.PR != 0 && pulls[f.PR].State != PullClosed &&
			!slices.ContainsFunc(list, func(h FollowUp) bool { return h.PR == f.PR && h.Void == "" })
		if f.open(list) || needless || f.Rollback == last || f.Void == last || f.ReplacedBy != "" && by {
			kept = append(kept, f)
		}
	}
	return kept[max(len(kept)-OwedLimit, 0):]
}

// replacing writes down that the debt of a rollback takes in others.
func replacing(list []FollowUp, replaced []FollowUp, by string) {
	for i := range list {
		for _, f := range replaced {
			if list[i].same(f) {
				list[i].ReplacedBy = by
			}
		}
	}
}

// undone is what is owed when an act has been taken back. What it owed, or what stood again because of it, is void; what it had
// replaced or made void stands again; and where its pull request is merged by now, the branch has to be put right the other way round.
func undone(list []FollowUp, id, by string, due time.Time) []FollowUp {
	var more []FollowUp
	for i := range list {
		f := &list[i]
		switch {
		case f.Void == id:
			f.Void, f.Stands = "", by
		case f.Rollback != id && f.Stands != id:
		case !f.Done:
			f.Void = by
		case f.PR != 0:
			more = append(more, f.backwards(by, due))
		}
	}
	for _, f := range more {
		if !slices.ContainsFunc(list, func(h FollowUp) bool { return h.Kind == f.Kind && h.Of == f.Of && h.open(list) }) {
			list = put(list, f)
		}
	}
	return list
}

// Learn tells a record what became of a pull request that somebody opened or merged by hand. line are first-parent commits,
// newest first, that reach over what it undoes; of is the merged pull request that it was asked to take back, 0 for none. It
// returns what the pull request pays, in its new state; nothing where it pays nothing that is owed.
func (r *Record) Learn(res RevertResult, of int, reland bool) []FollowUp {
	var learned []FollowUp
	if of != 0 && res.Outcome != RevertPlanned { // only what is merged can be taken back
		r.Owed = Paid(r.Owed, map[int]PullRequest{of: {State: PullMerged}})
	}
	owed := slices.Clone(r.Owed)
	for i := range owed {
		f := &owed[i]
		if !f.open(r.Owed) || res.Outcome == RevertPlanned {
			continue
		}
		pays := f.Of == 0 && f.Range != (Range{}) && covers(res.Undoes, res.Range, f.Range)
		if f.Of != 0 {
			pays = of == f.Of
		}
		if reland != (f.Kind == OwedReland) || !pays {
			continue
		}
		was := *f
		if res.PR.Number != 0 {
			f.PR, f.URL = res.PR.Number, res.PR.URL
		}
		f.Done = res.Outcome == RevertAlready || res.PR.State == PullMerged
		if *f != was {
			learned = append(learned, *f)
		}
	}
	r.Owed = owed
	return learned
}

// owe is what this run makes of a record's debts. It can be applied again, to what somebody else wrote meanwhile.
func (r *run) owe(list []FollowUp) []FollowUp {
	list = Paid(list, r.survey.Pulls)
	switch id := r.entry.ID; {
	case r.entry.Kind == KindUndo:
		if r.entry.State == Closed {
			list = undone(list, r.entry.Undoes, id, r.due())
		}
	case r.entry.Kind != KindRollback || r.plan.Act != ActRun && r.plan.Act != ActRetag:
	default:
		d := r.survey.dues()
		if due := r.debt(d); due != nil {
			list = put(list, *due)
			replacing(list, d.Replaces, id)
		}
		for i := range list {
			f := &list[i]
			back := slices.ContainsFunc(d.Voids, f.same)
			if (r.entry.State == Mitigated || r.entry.State == TagMoved) && back || r.settled(*f) {
				f.Void = id
			}
		}
		list = pruned(list, id, r.survey.Pulls)
	}
	return list
}

// debt is what this run leaves owed itself, nil for nothing.
func (r *run) debt(d dues) *FollowUp {
	due := FollowUp{Kind: OwedRevert, Rollback: r.entry.ID, Due: r.deadline(d), Range: d.Range}
	switch {
	case r.plan.Method == MethodRevert:
		if r.entry.Merge.Commit == "" {
			return nil
		}
		due.PR, due.URL, due.Done = r.entry.Merge.PR, r.entry.Merge.URL, true
	case r.owing != nil:
		due.PR, due.URL, due.Done = r.owing.due.PR, r.owing.due.URL, r.owing.due.Done
	case r.plan.Act == ActRetag && r.tagged && d.Known && r.World.Place.Followed.Repo != "": // opened by hand, as the stages are
	case !r.tagged || !r.plan.Does(StepFollowUp) && len(d.Replaces) == 0: // nothing moved, or nobody to open it
		return nil
	}
	return &due
}

// deadline is by when the debt of this run has to be paid. What was owed before is not owed later for having become more.
func (r *run) deadline(d dues) time.Time {
	due := r.due()
	for _, f := range d.Replaces {
		if f.Due.Before(due) {
			due = f.Due
		}
	}
	return due
}

// settled tells whether a debt to take a revert back is over because production needs that very revert again.
func (r *run) settled(f FollowUp) bool {
	if f.Kind != OwedReland || f.Done || f.Void != "" {
		return false
	}
	if o := r.owing; o != nil && r.entry.State == Mitigated {
		return o.err == nil && o.due.Done && o.due.PR == f.Of
	}
	return r.entry.Merge.Commit != "" && r.entry.Merge.PR == f.Of
}

// nextDebts is what to type about debts that this run did not make: those that stand besides its own, and those that an
// undo has changed.
func (r *run) nextDebts(after []FollowUp) []string {
	scope := r.plan.Scope
	var list []string
	before := Record{Owed: Paid(r.survey.Record.Owed, r.survey.Pulls)}
	for _, f := range after {
		was := slices.IndexFunc(before.Owed, f.same)
		stood := was >= 0 && before.Owed[was].open(before.Owed)
		by := f.Due.UTC().Format("15:04 UTC")
		state := r.survey.Pulls[f.PR].State
		switch {
		case f.Void == r.entry.ID && f.Void != "" && f.URL != "" && state != PullClosed:
			if f.Kind == OwedReland {
				list = append(list, "the pull request that brings it back is still open; close it: "+f.URL)
			} else {
				list = append(list, "the revert pull request is still open; close it, or it undoes the code all the same: "+f.URL)
			}
		case !f.open(after) || f.Rollback == r.entry.ID && f.Of == 0:
		case f.Of != 0 && !stood && f.PR == 0:
			what := fmt.Sprintf("the merged revert #%d is still in the branch, and the next deploy ships it again; take it back by %s", f.Of, by)
			if f.Kind == OwedRevert {
				what = fmt.Sprintf("the merged #%d is still in the branch, and the next deploy ships what it brought back; revert it by %s", f.Of, by)
			}
			list = append(list, what+": "+f.Command(scope, r.plan.Reason))
		default:
			list = append(list, r.stillOwed(f, r.plan.Reason))
		}
	}
	return list
}

// stillOwed is what to type about a debt that stands.
func (r *run) stillOwed(f FollowUp, reason string) string {
	by := f.Due.UTC().Format("15:04 UTC")
	switch {
	case f.URL == "":
		return fmt.Sprintf("%s is still owed, by %s: %s", f, by, f.Command(r.plan.Scope, reason))
	case r.survey.Pulls[f.PR].State == PullClosed:
		return fmt.Sprintf("%s is owed again, by %s; reopen its pull request: %s", f, by, f.URL)
	}
	return fmt.Sprintf("%s is still owed, by %s; merge %s", f, by, f.URL)
}

// inspectOwed says what is owed from before, and what this rollback makes of it.
func (s *Survey) inspectOwed() {
	if s.Request.Act != ActRun && s.Request.Act != ActRetag && s.Request.Act != ActUndo || s.Target.Digest == "" {
		return
	}
	rolls := s.Request.Act != ActUndo
	if s.owedErr != nil {
		s.find(Info, "owed-unread", "whether the pull requests that are owed are merged could not be read: "+s.owedErr.Error(), "")
	}
	d := s.dues()
	in := func(list []FollowUp, f FollowUp) bool { return slices.Contains(list, f) }
	for _, f := range s.Record.Open() {
		when := "due in " + Span(f.Due.Sub(s.At))
		if late := s.At.Sub(f.Due); late > 0 {
			when = "overdue by " + Span(late)
		}
		who := ""
		if f.Rollback != "" {
			who = " since rollback " + f.Rollback
		}
		text := strings.TrimSpace(fmt.Sprintf("%s is owed%s, %s %s", f, who, when, f.URL))
		switch {
		case s.Resume != nil && f.Rollback == s.Resume.ID || s.Request.Act == ActUndo && s.Record.Last != nil && f.Rollback == s.Record.Last.ID:
		case rolls && in(d.Replaces, f):
			s.find(Info, "owed", text+": the pull request of this rollback takes it in", "")
		case rolls && in(d.Voids, f):
			s.find(Info, "owed", text+": it is not any more, once this is done", "")
		default:
			s.find(Warn, "owed", text+"; this does not change that", "")
		}
	}
}
