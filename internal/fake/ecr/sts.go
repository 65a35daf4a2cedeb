package ecr

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"
	"time"
)

const stsNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"

// serveSTS answers GetCallerIdentity and AssumeRole in the query protocol, also when presigned.
func (s *Server) serveSTS(w http.ResponseWriter, r *http.Request) {
	form := stsForm(r)
	payload := body(r)
	k, ref := s.authenticate(r, "sts", payload)
	if ref != nil {
		// STS has its own words for two of them.
		switch ref.code {
		case "UnrecognizedClientException":
			ref.code = "InvalidClientTokenId"
		case "InvalidSignatureException":
			ref.code = "SignatureDoesNotMatch"
		case "ExpiredTokenException":
			ref.code = "ExpiredToken"
		case "MissingAuthenticationTokenException":
			ref.code = "MissingAuthenticationToken"
		}
		s.stsError(w, ref)
		return
	}
	if form.Get("Version") != "2011-06-15" {
		s.stsError(w, &refusal{http.StatusBadRequest, "NoSuchVersion", "The requested version (" + form.Get("Version") + ") of service AWSSecurityTokenService does not exist"})
		return
	}
	action := form.Get("Action")
	if !s.allowed("sts:" + action) {
		s.stsError(w, &refusal{http.StatusForbidden, "AccessDenied", fmt.Sprintf("User: %s is not authorized to perform: sts:%s", k.arn, action)})
		return
	}
	switch action {
	case "GetCallerIdentity":
		s.stsAnswer(w, action, struct {
			XMLName xml.Name `xml:"GetCallerIdentityResult"`
			Arn     string
			UserID  string `xml:"UserId"`
			Account string
		}{Arn: k.arn, UserID: "AROAEXAMPLE:" + k.arn[strings.LastIndexByte(k.arn, '/')+1:], Account: k.account()})
	case "AssumeRole":
		s.assumeRole(w, form.Get("RoleArn"), form.Get("RoleSessionName"), form.Get("ExternalId"), k)
	default:
		s.stsError(w, &refusal{http.StatusBadRequest, "InvalidAction", "Could not find operation " + action + " for version 2011-06-15"})
	}
}

func (s *Server) assumeRole(w http.ResponseWriter, role, session, external string, k key) {
	s.mu.Lock()
	want, ok := s.roles[role]
	s.serial++
	id := fmt.Sprintf("ASIAEXAMPLE%09d", s.serial)
	secret, token := "secret-of-"+id, "token-of-"+id
	arn := strings.Replace(strings.Replace(role, ":iam:", ":sts:", 1), ":role/", ":assumed-role/", 1) + "/" + session
	if ok && session != "" && external == want {
		s.keys[id] = &key{secret: secret, token: token, arn: arn}
	}
	s.mu.Unlock()
	switch {
	case session == "":
		s.stsError(w, &refusal{http.StatusBadRequest, "ValidationError", "1 validation error detected: Value null at 'roleSessionName' failed to satisfy constraint: Member must not be null"})
		return
	case !ok || external != want:
		s.stsError(w, &refusal{http.StatusForbidden, "AccessDenied", fmt.Sprintf("User: %s is not authorized to perform: sts:AssumeRole on resource: %s", k.arn, role)})
		return
	}
	type credentials struct {
		AccessKeyID     string `xml:"AccessKeyId"`
		SecretAccessKey string
		SessionToken    string
		Expiration      string
	}
	type user struct {
		Arn           string
		AssumedRoleID string `xml:"AssumedRoleId"`
	}
	s.stsAnswer(w, "AssumeRole", struct {
		XMLName         xml.Name `xml:"AssumeRoleResult"`
		Credentials     credentials
		AssumedRoleUser user
	}{
		Credentials:     credentials{id, secret, token, time.Now().Add(time.Hour).UTC().Format(time.RFC3339)},
		AssumedRoleUser: user{arn, "AROAEXAMPLE:" + session},
	})
}

func (s *Server) stsAnswer(w http.ResponseWriter, action string, result any) {
	b, err := xml.Marshal(result)
	if err != nil {
		panic("ecr: " + err.Error()) // strings only
	}
	w.Header().Set("Content-Type", "text/xml")
	_, _ = fmt.Fprintf(w, `<%sResponse xmlns="%s">%s<ResponseMetadata><RequestId>%s</RequestId></ResponseMetadata></%sResponse>`,
		action, stsNamespace, b, s.requestID(), action)
}

func (s *Server) stsError(w http.ResponseWriter, r *refusal) {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(r.status)
	_, _ = fmt.Fprintf(w, `<ErrorResponse xmlns="%s"><Error><Type>Sender</Type><Code>%s</Code><Message>`, stsNamespace, r.code)
	_ = xml.EscapeText(w, []byte(r.message))
	_, _ = fmt.Fprintf(w, `</Message></Error><RequestId>%s</RequestId></ErrorResponse>`, s.requestID())
}
