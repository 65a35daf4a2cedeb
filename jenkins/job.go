package jenkins

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/bndr/gojenkins"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// Branch is the full name of a branch's job in a multibranch project: the branch feature/x of web is web/feature%2Fx.
func Branch(project, branch string) string {
	return project + "/" + strings.ReplaceAll(url.PathEscape(branch), "/", "%2F")
}

// jobPath is the place of a job below the root URL. A name that already has an escape in it is escaped once more, so
// web/feature%2Fx is /job/web/job/feature%252Fx.
func jobPath(name string) (string, error) {
	path := ""
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." || len(name) > 1000 || oneLine(part) != part {
			return "", &rollback.CallError{System: system, Op: "find job", Kind: rollback.Rejected, Err: fmt.Errorf("%q is not the full name of a job, folder/job", name)}
		}
		path += "/job/" + url.PathEscape(part)
	}
	return path, nil
}

// jobOf is the full name of the job that a URL of Jenkins leads to, and what follows it. The host does not count: it is that
// of the configured root URL.
func jobOf(link string) (name string, rest []string) {
	u, err := url.Parse(link)
	if err != nil {
		return "", nil
	}
	path := u.EscapedPath()
	i := strings.Index(path, "/job/")
	if i < 0 {
		return "", nil
	}
	parts := strings.Split(strings.Trim(path[i:], "/"), "/")
	var names []string
	for len(parts) >= 2 && parts[0] == "job" {
		text, err := url.PathUnescape(parts[1])
		if err != nil {
			return "", nil
		}
		names, parts = append(names, text), parts[2:]
	}
	return strings.Join(names, "/"), parts
}

// queueItem is the id in a path that ends in /queue/item/N/, 0 if it does not.
func queueItem(path string) int64 {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if n := len(parts); n >= 3 && parts[n-3] == "queue" && parts[n-2] == "item" {
		if id, err := strconv.ParseInt(parts[n-1], 10, 64); err == nil && id > 0 {
			return id
		}
	}
	return 0
}

// definition is gojenkins' definition of a parameter, and the choices that it lacks.
type definition struct {
	gojenkins.ParameterDefinition
	Choices []any          `json:"choices"`
	Default map[string]any `json:"defaultParameterValue"`
}

// jobAnswer is a job as Jenkins tells it, as far as it is asked.
type jobAnswer struct {
	gojenkins.JobResponse
	Disabled *bool `json:"disabled"`
	Property []struct {
		Definitions []definition `json:"parameterDefinitions"`
	} `json:"property"`
	Builds []buildAnswer `json:"builds"`
	// Buildable is missing from folders and multibranch projects.
	Buildable *bool `json:"buildable"`
}

const (
	treeParameters = "property[parameterDefinitions[name,type,choices,defaultParameterValue[value]]]"
	// treeBuilds asks for the newest builds of a job. How many is a matter of bytes: about 300 each.
	treeBuilds = "builds[" + treeBuild + "]{0,50}"
)

// job reads a job. Folders and multibranch projects are refused.
func (c *Controller) job(ctx context.Context, name, tree string) (jobAnswer, error) {
	var a jobAnswer
	path, err := jobPath(name)
	if err != nil {
		return a, err
	}
	if _, err = c.jenkins.Requester.GetJSON(ctx, path, &a, map[string]string{"tree": "buildable,disabled," + tree}); err != nil {
		return jobAnswer{}, err
	}
	// Building a multibranch project would mean looking for branches.
	if a.Buildable == nil || strings.HasSuffix(a.Class, "Folder") || strings.HasSuffix(a.Class, "MultiBranchProject") {
		return jobAnswer{}, &rollback.CallError{System: system, Op: "GET " + path, Kind: rollback.Rejected,
			Err: fmt.Errorf("%s is a folder or a multibranch project (%s), not a job", name, oneLine(a.Class)),
			Fix: "name the job in it, folder/job; for a branch project/branch, with / in the branch written as %2F"}
	}
	return a, nil
}

// kinds are the parameters that this program knows how to give, by the end of their type.
var kinds = map[string]rollback.ParameterKind{
	"StringParameterDefinition": rollback.TextParameter, "TextParameterDefinition": rollback.TextParameter,
	"ChoiceParameterDefinition": rollback.ChoiceParameter, "BooleanParameterDefinition": rollback.BooleanParameter,
	"PasswordParameterDefinition": rollback.SecretParameter,
}

// parameters are the definitions in the domain's words.
func (a jobAnswer) parameters() []rollback.Parameter {
	var list []rollback.Parameter
	for _, property := range a.Property {
		for _, d := range property.Definitions {
			p := rollback.Parameter{Name: d.Name, Type: d.Type, Kind: kinds[d.Type]}
			if p.Kind == "" {
				p.Kind = rollback.OtherParameter
			}
			for _, choice := range d.Choices {
				p.Choices = append(p.Choices, text(choice))
			}
			switch value, has := d.Default["value"]; {
			case d.Default == nil || has && value == nil:
			case has:
				s := text(value)
				p.Default = &s
			default: // the value of a password is not told, but there is one
				p.Default = new(string)
			}
			list = append(list, p)
		}
	}
	return list
}

// text is a parameter's value as a form has it.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case nil:
		return ""
	}
	return fmt.Sprint(v)
}

// Parameters reads what parameters a job has. A job whose Jenkinsfile declares them has none before its first run.
func (c *Controller) Parameters(ctx context.Context, job string) ([]rollback.Parameter, error) {
	a, err := c.job(ctx, job, treeParameters)
	return a.parameters(), err
}

// MayBuild asks whether we may start a job, without starting it: of a start without a form Jenkins looks at the right first,
// and then misses the parameters (ParameterizedJobMixIn.doBuild: 403 or 400). A job that has none would be started by it, so
// that it is refused here.
func (c *Controller) MayBuild(ctx context.Context, name string) error {
	a, err := c.job(ctx, name, treeParameters)
	if err != nil {
		return err
	}
	path, err := jobPath(name)
	if err != nil {
		return err
	}
	if len(a.parameters()) == 0 {
		return &rollback.CallError{System: system, Op: "GET " + path, Kind: rollback.Rejected, Err: fmt.Errorf("%s has no parameters", name),
			Fix: "if it is new, run it once by hand: Jenkins learns the parameters of a Jenkinsfile in its first run"}
	}
	_, err = c.jenkins.Requester.Post(ctx, path+"/build", nil, nil, nil)
	switch {
	case statusOf(err) == http.StatusBadRequest:
		return nil
	case err == nil:
		return unheard(name, "nothing was asked for")
	case !a.enabled():
		return &rollback.CallError{System: system, Op: "POST " + path + "/build", Kind: rollback.Rejected, Err: fmt.Errorf("the job %s is disabled", name), Fix: "enable it, at its page in Jenkins"}
	}
	return err
}

// enabled tells whether a job takes builds.
func (a jobAnswer) enabled() bool {
	return a.Buildable != nil && *a.Buildable && (a.Disabled == nil || !*a.Disabled)
}

// SetEnabled makes a job take new builds, or refuse them. What already waits in the queue is not removed. The job is looked
// at before and after, so a lost answer does no harm.
func (c *Controller) SetEnabled(ctx context.Context, name string, enabled bool) (already bool, err error) {
	path, err := jobPath(name)
	if err != nil {
		return false, err
	}
	var sent error
	for n := 0; ; n++ {
		a, err := c.job(ctx, name, "name")
		if err != nil {
			return false, first(sent, err)
		}
		if a.enabled() == enabled {
			return n == 0, nil
		}
		if n == 2 || n > 0 && sent == nil {
			break
		}
		j := &gojenkins.Job{Jenkins: c.jenkins, Base: path}
		if enabled {
			_, sent = j.Enable(ctx)
		} else {
			_, sent = j.Disable(ctx)
		}
		if sent != nil && (!passing(sent) || ctx.Err() != nil) {
			return false, sent
		}
	}
	if sent != nil {
		return false, sent
	}
	act := map[bool]string{true: "enable", false: "disable"}[enabled]
	return false, &rollback.CallError{System: system, Op: "POST " + path + "/" + act, Kind: rollback.Conflict,
		Err: fmt.Errorf("the answer was done, but %s is as it was", name), Fix: "look at the job's page: somebody else may have switched it at the same time"}
}

// first is the first error that is one.
func first(errs ...error) error {
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return errs[i]
	}
	return nil
}
