package ecr

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// key is one set of credentials.
type key struct {
	secret  string
	token   string // session token, "" for long-lived keys
	arn     string
	expired bool
}

// account is the account an ARN belongs to.
func (k *key) account() string {
	parts := strings.SplitN(k.arn, ":", 6)
	if len(parts) < 6 {
		return ""
	}
	return parts[4]
}

// refusal is an error answer of AWS's front door.
type refusal struct {
	status        int
	code, message string
}

func (r *refusal) Error() string { return r.code + ": " + r.message }

// authenticate checks the request's Signature Version 4, in the header or (presigned) in the query
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html). The clock is not checked.
func (s *Server) authenticate(r *http.Request, service string, payload []byte) (key, *refusal) {
	var credential, signed, signature, date, token string
	query := r.URL.Query()
	if query.Get("X-Amz-Signature") != "" {
		credential, signed = query.Get("X-Amz-Credential"), query.Get("X-Amz-SignedHeaders")
		signature, date, token = query.Get("X-Amz-Signature"), query.Get("X-Amz-Date"), query.Get("X-Amz-Security-Token")
		query.Del("X-Amz-Signature")
	} else {
		fields, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
		if !ok {
			return key{}, &refusal{http.StatusForbidden, "MissingAuthenticationTokenException", "Missing Authentication Token"}
		}
		for f := range strings.SplitSeq(fields, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(f), "=")
			switch name {
			case "Credential":
				credential = value
			case "SignedHeaders":
				signed = value
			case "Signature":
				signature = value
			}
		}
		date, token = r.Header.Get("X-Amz-Date"), r.Header.Get("X-Amz-Security-Token")
	}
	scope := strings.Split(credential, "/")
	if len(scope) != 5 || scope[4] != "aws4_request" {
		return key{}, &refusal{http.StatusForbidden, "IncompleteSignatureException", "Credential must have 5 parts"}
	}
	s.mu.Lock()
	known, ok := s.keys[scope[0]]
	var k key
	if ok {
		k = *known
	}
	s.mu.Unlock()
	if !ok || k.token != token {
		return key{}, &refusal{http.StatusForbidden, "UnrecognizedClientException", "The security token included in the request is invalid."}
	}
	if scope[2] != s.options.Region || scope[3] != service {
		return key{}, &refusal{http.StatusForbidden, "InvalidSignatureException",
			"Credential should be scoped to region " + s.options.Region + " and service " + service + "."}
	}
	headers := strings.Split(signed, ";")
	if !slices.Contains(headers, "host") {
		return key{}, &refusal{http.StatusForbidden, "InvalidSignatureException", "'Host' must be a 'SignedHeader' in the AWS Authorization."}
	}

	var canonical strings.Builder
	path := r.URL.EscapedPath()
	canonical.WriteString(r.Method + "\n" + escape(path, true) + "\n" + canonicalQuery(query) + "\n")
	for _, h := range headers {
		value := strings.Join(r.Header.Values(h), ",")
		switch h {
		case "host":
			value = r.Host
		case "content-length":
			value = strconv.FormatInt(r.ContentLength, 10)
		}
		canonical.WriteString(h + ":" + strings.Join(strings.Fields(value), " ") + "\n")
	}
	canonical.WriteString("\n" + signed + "\n" + hash(payload))
	text := "AWS4-HMAC-SHA256\n" + date + "\n" + strings.Join(scope[1:], "/") + "\n" + hash([]byte(canonical.String()))
	mac := []byte("AWS4" + k.secret)
	for _, part := range append(scope[1:], text) {
		mac = sign(mac, part)
	}
	if !hmac.Equal([]byte(hex.EncodeToString(mac)), []byte(signature)) {
		return key{}, &refusal{http.StatusForbidden, "InvalidSignatureException",
			"The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method."}
	}
	if k.expired {
		return key{}, &refusal{http.StatusForbidden, "ExpiredTokenException", "The security token included in the request is expired"}
	}
	return k, nil
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func sign(secret []byte, text string) []byte {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(text))
	return m.Sum(nil)
}

func canonicalQuery(q url.Values) string {
	var pairs []string
	for name, values := range q {
		for _, v := range values {
			pairs = append(pairs, escape(name, false)+"="+escape(v, false))
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

// escape is AWS's URI encoding: everything but unreserved characters, and the slash in paths.
func escape(s string, path bool) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~", c) >= 0, path && c == '/':
			b.WriteByte(c)
		default:
			b.WriteString("%" + strings.ToUpper(hex.EncodeToString([]byte{c})))
		}
	}
	if b.Len() == 0 && path {
		return "/"
	}
	return b.String()
}
