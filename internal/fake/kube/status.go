package kube

// Errors as the API server words them.
// Source: https://github.com/kubernetes/apimachinery/blob/master/pkg/api/errors/errors.go

import (
	"fmt"
	"net/http"
	"strings"
)

// fail is an error that is answered as a Status object.
type fail struct {
	code    int
	reason  string
	message string
	details tree
	// unknown marks what a real server may well be able to do and this one is not: it is noted in Refused.
	unknown bool
}

func (f *fail) Error() string { return f.message }

func (f *fail) status() tree {
	t := tree{"kind": "Status", "apiVersion": "v1", "metadata": tree{}, "status": "Failure", "message": f.message, "reason": f.reason, "code": int64(f.code)}
	if f.details != nil {
		t["details"] = f.details
	}
	return t
}

func details(r *resource, name string) tree {
	d := tree{"kind": r.plural}
	if name != "" {
		d["name"] = name
	}
	if r.group != "" {
		d["group"] = r.group
	}
	return d
}

func notFound(r *resource, name string) *fail {
	return &fail{code: http.StatusNotFound, reason: "NotFound", message: fmt.Sprintf("%s %q not found", r.qualified(), name), details: details(r, name)}
}

func noSuchPath() *fail {
	return &fail{code: http.StatusNotFound, reason: "NotFound", message: "the server could not find the requested resource", details: tree{}}
}

func conflict(r *resource, name, why string) *fail {
	return &fail{code: http.StatusConflict, reason: "Conflict", message: fmt.Sprintf("Operation cannot be fulfilled on %s %q: %s", r.qualified(), name, why), details: details(r, name)}
}

const modified = "the object has been modified; please apply your changes to the latest version and try again"

func exists(r *resource, name string) *fail {
	return &fail{code: http.StatusConflict, reason: "AlreadyExists", message: fmt.Sprintf("%s %q already exists", r.qualified(), name), details: details(r, name)}
}

func badRequest(format string, args ...any) *fail {
	return &fail{code: http.StatusBadRequest, reason: "BadRequest", message: fmt.Sprintf(format, args...)}
}

// refuse is a badRequest for what this server does not do although Kubernetes does.
func refuse(format string, args ...any) *fail {
	f := badRequest("the loopback API server does not know "+format, args...)
	f.unknown = true
	return f
}

func unauthorized() *fail {
	return &fail{code: http.StatusUnauthorized, reason: "Unauthorized", message: "Unauthorized"}
}

func forbidden(r *resource, name, why string) *fail {
	message := fmt.Sprintf("%s %q is forbidden: %s", r.qualified(), name, why)
	if name == "" {
		message = fmt.Sprintf("%s is forbidden: %s", r.qualified(), why)
	}
	return &fail{code: http.StatusForbidden, reason: "Forbidden", message: message, details: details(r, name)}
}

func expired(message string) *fail {
	return &fail{code: http.StatusGone, reason: "Expired", message: message}
}

// cause is one finding of validation.
type cause struct{ reason, field, message string }

func invalidValue(field string, value any, why string) cause {
	if s, ok := value.(string); ok {
		value = fmt.Sprintf("%q", s)
	} else {
		value = string(encode(value))
	}
	return cause{"FieldValueInvalid", field, fmt.Sprintf("Invalid value: %s: %s", value, why)}
}

func required(field, why string) cause {
	return cause{"FieldValueRequired", field, strings.TrimSuffix("Required value: "+why, ": ")}
}

func forbiddenField(field, why string) cause {
	return cause{"FieldValueForbidden", field, "Forbidden: " + why}
}

func notSupported(field, value string, supported ...string) cause {
	for i, s := range supported {
		supported[i] = fmt.Sprintf("%q", s)
	}
	return cause{"FieldValueNotSupported", field, fmt.Sprintf("Unsupported value: %q: supported values: %s", value, strings.Join(supported, ", "))}
}

func invalid(r *resource, name string, causes []cause) *fail {
	var texts []string
	var list []any
	for _, c := range causes {
		texts = append(texts, c.field+": "+c.message)
		list = append(list, tree{"reason": c.reason, "message": c.message, "field": c.field})
	}
	text := texts[0]
	if len(texts) > 1 {
		text = "[" + strings.Join(texts, ", ") + "]"
	}
	d := tree{"name": name, "kind": r.kind, "causes": list}
	if r.group != "" {
		d["group"] = r.group
	}
	return &fail{code: http.StatusUnprocessableEntity, reason: "Invalid", message: fmt.Sprintf("%s %q is invalid: %s", r.qualifiedKind(), name, text), details: d}
}
