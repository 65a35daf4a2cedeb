package redact

import (
	"encoding/json"
	"fmt"
	"log/slog"
)

// Attr is a slog.HandlerOptions.ReplaceAttr: it redacts messages and values, and blacks out a value whose key says that
// it is secret. A value of another type is turned into text if its text holds a secret, and is left alone otherwise.
func (r *Redactor) Attr(_ []string, a slog.Attr) slog.Attr {
	if r == nil {
		r = nothing
	}
	if secretKey(a.Key) {
		return slog.String(a.Key, r.mark)
	}
	switch a.Value.Kind() {
	case slog.KindString:
		return slog.String(a.Key, r.String(a.Value.String()))
	case slog.KindAny:
		switch v := a.Value.Any().(type) {
		case *slog.Source, slog.Level:
		case error:
			return slog.String(a.Key, r.String(v.Error()))
		case []byte:
			return slog.String(a.Key, r.String(string(v)))
		default:
			text := fmt.Sprintf("%+v", v)
			if safe := r.String(text); safe != text {
				return slog.String(a.Key, safe)
			}
			// A JSON handler follows pointers, which the text above does not.
			if j, err := json.Marshal(v); err == nil {
				if safe := r.String(string(j)); safe != string(j) {
					return slog.String(a.Key, safe)
				}
			}
		}
	}
	return a
}

// secretKey tells whether an attribute's key is a secret's name: those of the environment, and the header's.
func secretKey(key string) bool {
	switch key {
	case "authorization", "Authorization", "cookie", "Cookie":
		return true
	case "key": // in logs: the key of a map or an object
		return false
	}
	return SecretName(key)
}
