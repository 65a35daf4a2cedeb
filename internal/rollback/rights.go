package rollback

// The rights a run will need, asked for before anything is touched: a tag that has moved and pods that may not be restarted
// are worse than a refusal.

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// rightsPatience is how long the answer about rights is waited for: it is a courtesy, the plan is good without.
const rightsPatience = 5 * time.Second

// rights are those that the act may need, as far as they are known before anything was read.
func (w World) rights(req Request) []Right {
	if w.Rights == nil {
		return nil
	}
	var list []Right
	switch req.Act {
	case ActRun, ActRestart, ActUndo:
		verbs := []string{"patch", "get"} // restart, then follow the rollout
		if req.Method == MethodRevert {   // the build restarts
			verbs = verbs[1:]
		}
		for _, verb := range verbs {
			for _, kind := range []string{"Deployment", "StatefulSet", "DaemonSet"} {
				list = append(list, Right{Verb: verb, Kind: kind})
			}
		}
	case ActRetag:
	default:
		return nil
	}
	if w.Records != nil {
		list = append(list, Right{Verb: "create", Kind: "ConfigMap"}, Right{Verb: "update", Kind: "ConfigMap", Name: "rollback-" + req.Scope.Service})
	}
	return list
}

func (w World) missing(ctx context.Context, rights []Right) ([]Right, error) {
	ctx, cancel := context.WithTimeout(ctx, rightsPatience)
	defer cancel()
	return w.Rights.Missing(ctx, w.Place.Namespace, rights...)
}

// ofWorkload tells whether the right is about workloads, which a Role may name one by one.
func (r Right) ofWorkload() bool { return r.Kind != "ConfigMap" }

// missingByName asks again about the affected workloads of the kinds for which a right is missing altogether: a Role can name
// the objects it is about. Kinds that are not affected are forgotten.
func (s *Survey) missingByName(ctx context.Context, w World) {
	var ask []Right
	for _, r := range s.missing {
		for _, a := range s.Affected {
			if a.Ref.Kind == r.Kind {
				ask = append(ask, Right{Verb: r.Verb, Kind: r.Kind, Name: a.Ref.Name})
			}
		}
	}
	s.missing = slices.DeleteFunc(s.missing, Right.ofWorkload)
	if len(ask) == 0 {
		return
	}
	missing, err := w.missing(ctx, ask)
	if err != nil {
		s.rightsErr = err
		return
	}
	s.missing = slices.Concat(missing, s.missing)
}

// permissions prints what is needed for the request.
func (s *Survey) permissions() string {
	command := fmt.Sprintf("rollback permissions %s --for %s", s.Request.Scope.flags(), s.Request.Act)
	if s.Request.Method == MethodRevert {
		command += " --method " + MethodRevert
	}
	return command
}

// inspectRights tells which of the rights that the steps need are missing.
func (s *Survey) inspectRights() {
	if s.rightsErr != nil {
		s.find(Info, "not-checked", "not checked: the rights to restart, to follow the rollout and to keep the record: "+s.rightsErr.Error(), "")
	}
	if len(s.missing) == 0 {
		return
	}
	plan := Draw(s, "preview") // what it would do decides what it needs
	var lacks []string
	records := true // it is only the record that is out of reach
	for _, r := range s.missing {
		switch {
		case r.Verb == "patch" && !plan.Does(StepRestart), r.Kind == "ConfigMap" && !plan.Does(StepClaim):
			continue
		case r.Verb == "patch" && slices.ContainsFunc(plan.Workloads, func(w PlannedWorkload) bool { return w.Stamped && w.Ref.Kind == r.Kind && w.Ref.Name == r.Name }):
			continue // restarted already
		case r.Verb == "create" && s.Version != "": // the record is there
			continue
		}
		records = records && r.Kind == "ConfigMap"
		lacks = append(lacks, r.String())
	}
	if len(lacks) == 0 {
		return
	}
	severity, who := Block, s.Cluster.User
	if s.Request.Dry {
		severity = Warn
	}
	if who == "" {
		who = "this user"
	}
	remedy := "the Role that is needed: " + s.permissions()
	if records && s.Request.Act != ActUndo {
		remedy = "--no-record goes without lock and undo; " + remedy
	}
	s.find(severity, "no-right", fmt.Sprintf("%s has no right to %s in namespace %s", who, strings.Join(lacks, ", "), s.Place.Namespace), remedy)
}
