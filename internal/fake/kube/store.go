package kube

// The store: every object of the cluster, their versions, and the log of changes that watches read.

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// object is one version of one object. It is immutable.
type object struct {
	res      *resource
	ns, name string
	uid      string
	version  int64
	data     tree // without kind and apiVersion

	once sync.Once
	raw  []byte
}

// body is the JSON without kind and apiVersion, encoded once for all readers.
func (o *object) body() []byte {
	o.once.Do(func() { o.raw = encode(o.data) })
	return o.raw
}

// full is the JSON with kind and apiVersion.
func (o *object) full() []byte {
	return append([]byte(fmt.Sprintf(`{"kind":%q,"apiVersion":%q,`, o.res.kind, o.res.apiVersion())), o.body()[1:]...)
}

type key struct {
	res      *resource
	ns, name string
}

func (o *object) key() key { return key{o.res, o.ns, o.name} }

// change is one entry of the log: old is nil for a creation, new for a removal.
type change struct {
	version  int64
	res      *resource
	old, new *object
}

// logLimit is how many changes a watch can look back; beyond it the answer is 410.
const logLimit = 20000

func (s *Server) find(r *resource, ns, name string) *object { return s.objects[key{r, ns, name}] }

// list returns the objects of a resource ordered by namespace and name; ns "" means all.
func (s *Server) list(r *resource, ns string) []*object {
	var out []*object
	for k, o := range s.byRes[r] {
		if ns == "" || k.ns == ns {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b *object) int {
		if c := strings.Compare(a.ns, b.ns); c != 0 {
			return c
		}
		return strings.Compare(a.name, b.name)
	})
	return out
}

// owned returns the objects of a resource whose controller has the UID, ordered by name.
func (s *Server) ownedBy(uid string, r *resource) []*object {
	var out []*object
	for k := range s.owned[uid] {
		if k.res == r {
			if o := s.objects[k]; controllerOf(o.data) == uid {
				out = append(out, o)
			}
		}
	}
	slices.SortFunc(out, func(a, b *object) int { return strings.Compare(a.name, b.name) })
	return out
}

func controllerRef(o tree) tree {
	for _, r := range items(o, "metadata", "ownerReferences") {
		if truth(r, "controller") {
			return r.(tree)
		}
	}
	return nil
}

func controllerOf(o tree) string { return str(controllerRef(o), "uid") }

// commit stores a new version of an object (data nil: removes it) and tells everyone. s.mu is held.
func (s *Server) commit(r *resource, ns, name string, data tree) *object {
	s.version++
	k := key{r, ns, name}
	old := s.objects[k]
	var o *object
	if data != nil {
		set(data, strconv.FormatInt(s.version, 10), "metadata", "resourceVersion")
		o = &object{res: r, ns: ns, name: name, uid: str(data, "metadata", "uid"), version: s.version, data: data}
		s.objects[k] = o
		if s.byRes[r] == nil {
			s.byRes[r] = map[key]*object{}
		}
		s.byRes[r][k] = o
	} else {
		delete(s.objects, k)
		delete(s.byRes[r], k)
		// The last version that a watch shows carries the version of the removal.
		last := copyTree(old.data)
		set(last, strconv.FormatInt(s.version, 10), "metadata", "resourceVersion")
		old = &object{res: r, ns: ns, name: name, uid: old.uid, version: s.version, data: last}
	}
	s.reindex(k, old, o)
	s.log = append(s.log, change{s.version, r, old, o})
	if len(s.log) > 2*logLimit {
		s.compactTo(logLimit)
	}
	close(s.changed)
	s.changed = make(chan struct{})
	s.react(old, o)
	return o
}

func (s *Server) compactTo(keep int) {
	if n := len(s.log) - keep; n > 0 {
		s.oldest = s.log[n-1].version
		s.log = slices.Clone(s.log[n:])
	}
}

func (s *Server) reindex(k key, old, o *object) {
	if old != nil {
		for _, ref := range items(old.data, "metadata", "ownerReferences") {
			uid := str(ref, "uid")
			delete(s.owned[uid], k)
			if len(s.owned[uid]) == 0 {
				delete(s.owned, uid)
			}
		}
	}
	if o != nil {
		for _, ref := range items(o.data, "metadata", "ownerReferences") {
			uid := str(ref, "uid")
			if s.owned[uid] == nil {
				s.owned[uid] = map[key]bool{}
			}
			s.owned[uid][k] = true
		}
	}
}

// change stores what edit makes of a copy of the object; nothing if edit changes nothing or the object is gone.
// It is how controllers and nodes write. s.mu is held.
func (s *Server) change(o *object, edit func(tree)) *object {
	now := s.objects[o.key()]
	if now == nil || now.uid != o.uid {
		return nil
	}
	data := copyTree(now.data)
	edit(data)
	countTemplates(now.res, data, now.data)
	if equal(data, now.data) {
		return now
	}
	if now.res.generation && !equal(data["spec"], now.data["spec"]) && now.res != pods {
		set(data, int64(num(data, "metadata", "generation")+1), "metadata", "generation")
	}
	return s.commit(now.res, now.ns, now.name, data)
}

// create stores an object that a controller makes; data carries metadata.name. s.mu is held.
func (s *Server) create(r *resource, ns string, data tree) *object {
	s.born(r, ns, data)
	return s.commit(r, ns, str(data, "metadata", "name"), data)
}

// born sets what the API server sets on creation.
func (s *Server) born(r *resource, ns string, data tree) {
	set(data, newUID(), "metadata", "uid")
	set(data, stamp(time.Now()), "metadata", "creationTimestamp")
	if ns != "" {
		set(data, ns, "metadata", "namespace")
	}
	if r.generation {
		set(data, int64(1), "metadata", "generation")
	}
}

// remove takes an object out of the store for good and lets its dependants be collected. s.mu is held.
func (s *Server) remove(o *object) {
	if now := s.objects[o.key()]; now != nil && now.uid == o.uid {
		s.commit(o.res, o.ns, o.name, nil)
	}
}

// stamp is a time as Kubernetes writes it: whole seconds, UTC.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func parseStamp(s string) time.Time {
	t, _ := time.Parse(time.RFC3339, s)
	return t
}

func newUID() string {
	a, b := rand.Uint64(), rand.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", uint32(a), uint16(a>>32), (a>>48)&0xfff, b&0x3fff|0x8000, b>>16)
}

// suffix is a random name part in the alphabet Kubernetes uses (no vowels, so no words).
func suffix(n int) string {
	const alphabet = "bcdfghjklmnpqrstvwxz2456789"
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[rand.IntN(len(alphabet))]
	}
	return string(b)
}
