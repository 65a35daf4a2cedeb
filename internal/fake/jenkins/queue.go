package jenkins

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// queued is one item of the queue, and later the memory of it.
type queued struct {
	id         int64
	job        *item
	parameters map[string]string
	user       string
	since      time.Time
	ready      time.Time // the end of its quiet period
	stuck      bool
	commit     string // what a push asks to build

	leftAt    time.Time
	cancelled bool
	build     *Build
}

// Queued are the ids of the items that wait for a job, oldest first.
func (s *Server) Queued(job string) []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []int64
	for _, q := range s.queue {
		if q.job.name == job {
			ids = append(ids, q.id)
		}
	}
	return ids
}

// Stuck marks every waiting item as waiting for too long, or not.
func (s *Server) Stuck(stuck bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.queue {
		q.stuck = stuck
	}
}

// Forget drops the memory of items that left the queue, as happens after 5 minutes and at a restart.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.left)
}

// schedule puts a build into the queue, or finds the one that waits there with the same parameters. The caller holds mu.
func (s *Server) schedule(j *item, parameters map[string]string, user, commit string, delay time.Duration) (q *queued, created bool) {
	for _, q := range s.queue {
		if q.job == j && q.commit == commit && maps.Equal(q.parameters, parameters) {
			return q, false
		}
	}
	s.nextQueue++
	now := s.options.Now()
	q = &queued{id: s.nextQueue, job: j, parameters: parameters, user: user, commit: commit, since: now, ready: now.Add(delay)}
	s.queue = append(s.queue, q)
	if delay > 0 {
		time.AfterFunc(delay, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.dispatch()
		})
	}
	s.dispatch()
	s.change()
	return q, true
}

// dispatch starts what may start. The caller holds mu.
func (s *Server) dispatch() {
	if s.ctx.Err() != nil {
		return
	}
	for _, q := range slices.Clone(s.queue) {
		if _, why := s.waits(q); why == "" {
			s.leave(q)
			q.build = s.startBuild(q)
		}
	}
}

// leave takes an item out of the queue. The caller holds mu.
func (s *Server) leave(q *queued) {
	s.queue = slices.DeleteFunc(s.queue, func(other *queued) bool { return other == q })
	q.leftAt = s.options.Now()
	s.left[q.id] = q
	s.change()
}

// waits is what an item waits for, "" if for nothing. The caller holds mu.
func (s *Server) waits(q *queued) (class, why string) {
	busy := 0
	for _, j := range s.items {
		for _, b := range j.builds {
			if b.end.IsZero() {
				busy++
			}
		}
	}
	if left := q.ready.Sub(s.options.Now()); left > 0 {
		return "hudson.model.Queue$WaitingItem", fmt.Sprintf("In the quiet period. Expires in %.1f sec", left.Seconds())
	}
	if q.job.Sequential {
		for _, b := range q.job.builds {
			if b.end.IsZero() {
				return "hudson.model.Queue$BlockedItem", fmt.Sprintf("Build #%d is already in progress (ETA: N/A)", b.number)
			}
		}
	}
	if s.held || busy >= s.options.Executors {
		return "hudson.model.Queue$BuildableItem", "Waiting for next available executor"
	}
	return "", ""
}

// queueItem is an item as the remote API tells it. The caller holds mu.
func (s *Server) queueItem(q *queued, root string) object {
	class, why := s.waits(q)
	if !q.leftAt.IsZero() {
		class, why = "hudson.model.Queue$LeftItem", ""
	} else if class == "" {
		class = "hudson.model.Queue$BuildableItem"
	}
	o := object{
		"_class": class, "actions": actions(q.parameters, q.job.Parameters, q.user, nil), "blocked": class == "hudson.model.Queue$BlockedItem",
		"buildable": class == "hudson.model.Queue$BuildableItem", "id": q.id, "inQueueSince": q.since.UnixMilli(), "params": params(q.parameters),
		"stuck": q.stuck, "task": object{"_class": classJob, "name": q.job.base(), "url": root + q.job.path() + "/", "color": "blue"},
		"url": fmt.Sprintf("queue/item/%d/", q.id), "why": nil,
	}
	if why != "" {
		o["why"] = why
	}
	if !q.leftAt.IsZero() {
		o["cancelled"] = q.cancelled
		o["executable"] = nil
		if b := q.build; b != nil {
			o["executable"] = object{"_class": classBuild, "number": b.number, "url": root + b.path() + "/"}
		}
	}
	return o
}

// params is how the queue writes parameters for people.
func params(values map[string]string) string {
	text := ""
	for _, name := range slices.Sorted(maps.Keys(values)) {
		text += "\n" + name + "=" + values[name]
	}
	return text
}

func (s *Server) serveQueue(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	items := []any{}
	waiting := slices.SortedFunc(slices.Values(s.queue), func(a, b *queued) int { return cmp.Compare(b.id, a.id) })
	for _, q := range waiting {
		items = append(items, s.queueItem(q, s.root(r)))
	}
	// The steps of running pipelines that wait for an agent are in the queue too.
	for _, name := range slices.Sorted(maps.Keys(s.items)) {
		for _, b := range s.items[name].builds {
			if b.end.IsZero() && b.waitsForAgent {
				items = append(items, object{
					"_class": "hudson.model.Queue$BuildableItem", "actions": []any{object{}}, "blocked": false, "buildable": true, "id": 1_000_000 + b.queue,
					"inQueueSince": b.start.UnixMilli(), "params": "", "stuck": false, "url": fmt.Sprintf("queue/item/%d/", 1_000_000+b.queue),
					"why": "Waiting for next available executor", "task": object{
						"_class": "org.jenkinsci.plugins.workflow.support.steps.ExecutorStepExecution$PlaceholderTask",
						"name":   fmt.Sprintf("part of %s #%d", name, b.number), "url": s.root(r) + b.path() + "/", "color": "blue"},
				})
			}
		}
	}
	s.mu.Unlock()
	s.answer(w, r, object{"_class": "hudson.model.Queue", "discoverableItems": []any{}, "items": items})
}

func (s *Server) serveQueueItem(w http.ResponseWriter, r *http.Request, id string) {
	n, err := strconv.ParseInt(id, 10, 64)
	s.mu.Lock()
	var q *queued
	if i := slices.IndexFunc(s.queue, func(q *queued) bool { return q.id == n }); err == nil && i >= 0 {
		q = s.queue[i]
	} else if l := s.left[n]; err == nil && l != nil && s.options.Now().Sub(l.leftAt) < s.options.Keep {
		q = l
	}
	if q == nil {
		s.mu.Unlock()
		page(w, http.StatusNotFound, "Not Found", "")
		return
	}
	o := s.queueItem(q, s.root(r))
	s.mu.Unlock()
	s.answer(w, r, o)
}

func (s *Server) serveCancel(w http.ResponseWriter, r *http.Request, user string) {
	if !post(w, r) {
		return
	}
	n, err := strconv.ParseInt(r.URL.Query().Get("id"), 10, 64)
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.queue, func(q *queued) bool { return q.id == n })
	switch {
	case err != nil || i < 0:
		page(w, http.StatusNotFound, "Not Found", "")
	case s.denied["Job/Cancel"]:
		page(w, http.StatusUnprocessableEntity, "Error 422", user+" cannot cancel it")
	default:
		q := s.queue[i]
		q.cancelled = true
		s.leave(q)
		w.Header().Set("X-Jenkins", Version)
		w.WriteHeader(http.StatusNoContent)
	}
}
