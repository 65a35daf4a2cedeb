package rollback

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Candidate is an image that could be the target, with what speaks for it and what against.
type Candidate struct {
	Image  Image  `json:"image"`
	Commit Commit `json:"commit,omitempty"`
	// Change is what the forge tells about the commit; nil when it was not asked.
	Change *Change `json:"change,omitempty"`
	// Serving is how many ready pods run it now.
	Serving int `json:"serving,omitempty"`
	// Evidence is what is known of its past, strongest first; it is shown, never invented.
	Evidence []string `json:"evidence"`
	// KnownGood is set when the evidence says that it served, not only that it was pushed.
	KnownGood bool `json:"knownGood"`
	// Ineligible says why it cannot be the target, "" if it can.
	Ineligible string `json:"ineligible,omitempty"`
	// Threat says when a lifecycle rule takes it, "" if none does soon.
	Threat string `json:"threat,omitempty"`
}

// lifecycleHorizon is how far ahead an image must be safe from lifecycle rules: a rollback is meant to last hours, and a
// weekend may lie between it and the revert.
const lifecycleHorizon = 7 * 24 * time.Hour

// past is what the record tells about a digest.
type past struct {
	bad      string // why it was rolled back from, "" if it was not
	restored string // when it was restored by a rollback that was proven
}

// pastOf reads what the record knows of each digest that it names.
func pastOf(r Record) map[Digest]past {
	m := map[Digest]past{}
	entries := slices.Clone(r.History)
	if r.Last != nil {
		entries = slices.Insert(entries, 0, summary(*r.Last))
	}
	for _, s := range slices.Backward(entries) { // oldest first, so that the newest word stands
		if s.From == s.To || s.State == Undone {
			continue
		}
		proven := s.State == Mitigated || s.State == Closed
		if s.Kind == KindRollback && (proven || s.State == TagMoved || s.State == Restarted || s.State.Open()) {
			p := m[s.From]
			p.bad = fmt.Sprintf("rolled back from on %s by %s: %s", s.Started.UTC().Format("2006-01-02"), s.User, Printable(s.Reason))
			m[s.From] = p
		}
		if proven {
			p := m[s.To]
			p.bad = ""
			p.restored = fmt.Sprintf("ran before: proven in production on %s (%s %s)", s.Started.UTC().Format("2006-01-02"), s.Kind, s.ID)
			m[s.To] = p
		}
	}
	return m
}

func summary(e Entry) Summary {
	e.To = e.landed()
	return Summary{
		ID: e.ID, Kind: e.Kind, State: e.State, User: e.By.User, Reason: e.Reason, Started: e.StartedAt, Ended: e.EndedAt,
		From: e.From.Digest, To: e.To.Digest, FromCommit: e.From.Commit, ToCommit: e.To.Commit,
	}
}

// candidates turns a repository's images into candidates, newest first, images with the same digest collapsed.
func candidates(s *Survey, images []Image) []Candidate {
	byDigest := map[Digest]Image{}
	for _, i := range images {
		if seen, ok := byDigest[i.Digest]; ok {
			for _, t := range i.Tags {
				if !seen.HasTag(t) {
					seen.Tags = append(seen.Tags, t)
				}
			}
			i = seen
		}
		byDigest[i.Digest] = i
	}
	unique := make([]Image, 0, len(byDigest))
	for _, i := range byDigest {
		unique = append(unique, i)
	}
	slices.SortFunc(unique, func(a, b Image) int {
		return cmp.Or(b.Time().Compare(a.Time()), cmp.Compare(a.Digest, b.Digest))
	})

	known := pastOf(s.Record)
	changes := map[Commit]*Change{}
	for i := range s.Changes {
		changes[s.Changes[i].Commit] = &s.Changes[i]
	}
	var list []Candidate
	for _, i := range unique {
		c := Candidate{Image: i, Commit: i.Commit()}
		if c.Commit == "" && i.Digest != s.Current.Digest {
			continue // cache layers, attestations, signatures and keep tags are not versions of the service
		}
		c.Change = changeFor(changes, c.Commit)
		c.Threat = FateOf(s.Repository.Lifecycle, i, i.Tags, unique, s.At).Threat(s.At, lifecycleHorizon)
		p := known[i.Digest]
		c.Serving = s.serving(i.Digest)
		c.Evidence, c.KnownGood = s.evidence(i, p)
		c.Ineligible = s.ineligible(i, p)
		list = append(list, c)
	}
	return list
}

// serving is how many ready pods run an image now.
func (s *Survey) serving(d Digest) int {
	n := 0
	for _, run := range s.Running {
		if run.Image == d {
			n += run.Ready
		}
	}
	return n
}

// evidence is what is known of an image's past, strongest first, and whether that proves that it served.
func (s *Survey) evidence(i Image, p past) (list []string, good bool) {
	if n := s.serving(i.Digest); n > 0 {
		list = append(list, "serves now on "+plural(n, "ready pod", "ready pods"))
	}
	if p.restored != "" {
		list = append(list, p.restored)
	}
	if len(list) > 0 {
		return list, true
	}
	word := "pushed"
	if i.PushedAt.IsZero() {
		word = "built"
	}
	switch t := i.Time(); {
	case t.IsZero():
		return []string{"none: the registry keeps no time for it"}, false
	case !s.Current.Time().IsZero() && t.Before(s.Current.Time()):
		return []string{"only " + word + " before the current image; nothing proves that it served"}, false
	}
	return []string{"only " + word + "; nothing proves that it served"}, false
}

// changeFor finds the change of a commit that may be shortened on either side.
func changeFor(changes map[Commit]*Change, c Commit) *Change {
	if c == "" {
		return nil
	}
	if ch, ok := changes[c]; ok {
		return ch
	}
	for full, ch := range changes {
		if strings.HasPrefix(string(full), string(c)) || strings.HasPrefix(string(c), string(full)) {
			return ch
		}
	}
	return nil
}

// ineligible says why an image cannot be the target of `--to previous`, "" if it can. A person may still name some of
// these; then the plan warns or blocks with the same reason.
func (s *Survey) ineligible(i Image, p past) string {
	switch {
	case i.Digest == s.Current.Digest:
		return "current"
	case i.Status == Archived:
		return "archived: a pull answers 404; restoring it takes up to 20 minutes"
	case i.Status == Activating:
		return "being restored from the archive; up to 20 minutes"
	case p.bad != "":
		return p.bad
	case s.Current.Digest != "" && s.Current.Time().IsZero():
		return "older or newer than the current image is not known: the registry does not tell that one's time"
	case !i.Time().IsZero() && i.Time().After(s.Current.Time()):
		return "newer than the current image"
	}
	if f := FateOf(s.Repository.Lifecycle, i, i.Tags, nil, s.At); f.Doubt == "" && f.Rule != nil && f.Rule.OlderThan > 0 && !f.When.After(s.At) {
		return f.Threat(s.At, lifecycleHorizon)
	}
	return ""
}

// previous picks the target for `--to previous` and says why. An older image that still serves wins, because that is what
// a half-finished rollout is rolled back to; otherwise it is the newest eligible one older than the current.
func previous(scope Scope, list []Candidate) (Candidate, string, error) {
	var best *Candidate
	skipped := map[string]int{}
	for i := range list {
		c := &list[i]
		if c.Ineligible != "" {
			if c.Ineligible != "current" && !strings.HasPrefix(c.Ineligible, "newer") {
				skipped[c.Ineligible]++
			}
			continue
		}
		if c.Image.Time().IsZero() {
			skipped["the registry keeps no time for it"]++
			continue
		}
		if best == nil || c.Serving > best.Serving {
			best = c
		}
	}
	if best == nil {
		why := "no image older than the current one carries a commit tag"
		if len(skipped) > 0 {
			var reasons []string
			for r, n := range skipped {
				reasons = append(reasons, fmt.Sprintf("%d × %s", n, r))
			}
			slices.Sort(reasons)
			why = "every older image is ruled out: " + strings.Join(reasons, "; ")
		}
		return Candidate{}, "", &Error{Exit: Refused, What: "no previous image to roll back to: " + why, Production: NotChanged,
			Next: []string{"name one with --to, a commit or a digest of this list: rollback candidates " + scope.flags()}}
	}
	why := "newest eligible image pushed before the current one"
	if best.Image.PushedAt.IsZero() {
		why = "newest eligible image built before the current one"
	}
	if best.Serving > 0 {
		why = fmt.Sprintf("older image that still serves on %s", plural(best.Serving, "pod", "pods"))
	}
	return *best, why, nil
}
