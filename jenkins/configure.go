package jenkins

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/bndr/gojenkins"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// Making and changing jobs. Jenkins answers a change with an empty page, and so does many a proxy: what counts is what is read
// back. Nothing here is written twice without a look in between.

// Item is a job or a folder as a listing has it.
type Item struct {
	Name        string // full name
	Class       string
	Description string
	// Holds tells that items can be below it: a folder, a multibranch project.
	Holds bool
}

// Pipeline tells whether the item is a pipeline job.
func (i Item) Pipeline() bool { return strings.HasSuffix(i.Class, ".WorkflowJob") }

// listed is gojenkins' inner job, and what that lacks.
type listed struct {
	gojenkins.InnerJob
	FullName    string    `json:"fullName"`
	Description string    `json:"description"`
	Jobs        *[]listed `json:"jobs"`
}

// Items lists what is in a folder ("" for the top) and in its folders, so many levels deep, in one call. A folder that is not
// there, or that the user may not see, has none: nil, where an empty one has an empty list.
func (c *Controller) Items(ctx context.Context, folder string, levels int) ([]Item, error) {
	path := ""
	if folder != "" {
		var err error
		if path, err = jobPath(folder); err != nil {
			return nil, err
		}
	}
	tree := "jobs[fullName,description]"
	for range levels - 1 {
		tree = "jobs[fullName,description," + tree + "]"
	}
	var a listed
	if _, err := c.jenkins.Requester.GetJSON(ctx, path, &a, map[string]string{"tree": tree}); err != nil {
		if statusOf(err) == http.StatusNotFound {
			return nil, nil
		}
		return nil, err
	}
	if a.Jobs == nil {
		return nil, &rollback.CallError{System: system, Op: "GET " + path, Kind: rollback.Rejected,
			Err: fmt.Errorf("%s is a job (%s), where a folder should be", cmp.Or(folder, "the top"), oneLine(a.Class)),
			Fix: "rename that job, or set jenkins.rollbackJob to another name"}
	}
	return flatten([]Item{}, *a.Jobs), nil
}

func flatten(list []Item, answers []listed) []Item {
	for _, a := range answers {
		holds := a.Jobs != nil || strings.HasSuffix(a.Class, "Folder") || strings.HasSuffix(a.Class, "MultiBranchProject")
		list = append(list, Item{Name: a.FullName, Class: a.Class, Description: a.Description, Holds: holds})
		if a.Jobs != nil {
			list = flatten(list, *a.Jobs)
		}
	}
	return list
}

// PipelineOf reads what a pipeline job's configuration says.
func (c *Controller) PipelineOf(ctx context.Context, name string) (Pipeline, error) {
	_, p, err := c.config(ctx, name)
	return p, err
}

func (c *Controller) config(ctx context.Context, name string) (string, Pipeline, error) {
	path, err := jobPath(name)
	if err != nil {
		return "", Pipeline{}, err
	}
	text, err := (&gojenkins.Job{Jenkins: c.jenkins, Base: path}).GetConfig(ctx)
	if err != nil {
		return "", Pipeline{}, err
	}
	p, err := ReadPipeline(text)
	if err != nil {
		return "", p, &rollback.CallError{System: system, Op: "GET " + path + "/config.xml", Kind: rollback.Rejected, Err: err}
	}
	return text, p, nil
}

// split is a full name in two: the path of the folder, and the last name.
func split(name string) (folder, path, base string, err error) {
	if _, err := jobPath(name); err != nil {
		return "", "", "", err
	}
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return "", "", name, nil
	}
	path, err = jobPath(name[:i])
	return name[:i], path, name[i+1:], err
}

// CreatePipeline makes a job that is not there yet, in a folder that is. A job of that name with the very same values is taken
// for done; any other is a conflict, and left alone.
func (c *Controller) CreatePipeline(ctx context.Context, name string, p Pipeline) error {
	_, path, base, err := split(name)
	if err != nil {
		return err
	}
	for n := 1; ; n++ {
		_, sent := c.jenkins.Requester.PostXML(ctx, path+"/createItem", p.XML(), nil, map[string]string{"name": base})
		if sent != nil && (ctx.Err() != nil || !passing(sent) && statusOf(sent) != http.StatusBadRequest) {
			return c.aboutFolder(sent, name)
		}
		found, err := c.settled(ctx, name, sent)
		switch {
		case err == nil && found.Equal(p):
			return nil
		case err == nil && sent == nil:
			return unheard(name, "Jenkins has stored something else")
		case err == nil:
			return conflict(name, "there is a job of that name by now")
		case statusOf(sent) == http.StatusBadRequest:
			var f *rollback.CallError
			if errors.As(sent, &f) {
				f.Fix = fmt.Sprintf("if it exists, the Jenkins user %s may not see it: give that user the right Job/Read", c.r.user)
			}
			return sent
		case rollback.KindOf(err) != rollback.NotFound:
			return unproven(first(sent, err))
		case sent == nil:
			return unheard(name, "there is no such job")
		case n == 2 || statusOf(sent) == http.StatusInternalServerError:
			return proven(sent)
		}
		// It is not there: whoever comes second now is refused, so that asking again makes no second one.
	}
}

// UpdatePipeline changes a job from the values it had to the ones it shall have, by the bytes that are ours. A job that has
// other values by now is a conflict, and left alone.
func (c *Controller) UpdatePipeline(ctx context.Context, name string, before, p Pipeline) error {
	path, err := jobPath(name)
	if err != nil {
		return err
	}
	var sent error
	for n := 0; ; n++ {
		text, found, err := c.config(ctx, name)
		switch {
		case err != nil && n == 0:
			return err
		case err != nil:
			return unproven(first(sent, err))
		case found.Equal(p):
			return nil
		case !found.Equal(before):
			return conflict(name, "somebody has changed it meanwhile")
		case n > 0 && sent == nil:
			return unheard(name, "the job is as it was")
		case n == 2:
			return sent
		}
		changed, err := p.Splice(text)
		if err != nil {
			return &rollback.CallError{System: system, Op: "change " + name, Kind: rollback.Rejected, Err: err}
		}
		_, sent = c.jenkins.Requester.PostXML(ctx, path+"/config.xml", changed, nil, nil)
		if sent != nil && (!passing(sent) || ctx.Err() != nil) {
			return sent
		}
	}
}

// CreateFolder makes a folder in one that is there. A folder that exists is left as it is.
func (c *Controller) CreateFolder(ctx context.Context, name, description string) (created bool, err error) {
	_, path, base, err := split(name)
	if err != nil {
		return false, err
	}
	own, err := jobPath(name)
	if err != nil {
		return false, err
	}
	var sent error
	for n := 0; ; n++ {
		var a listed
		_, err := c.jenkins.Requester.GetJSON(ctx, own, &a, map[string]string{"tree": "name,jobs[name]{0,1}"})
		switch {
		case err == nil && (a.Jobs == nil || strings.HasSuffix(a.Class, "MultiBranchProject") || strings.HasSuffix(a.Class, ".OrganizationFolder")):
			return false, &rollback.CallError{System: system, Op: "GET " + own, Kind: rollback.Rejected,
				Err: fmt.Errorf("%s is no folder that jobs can be made in (%s)", name, oneLine(a.Class)),
				Fix: "rename it, or set jenkins.rollbackJob to another name"}
		case err == nil:
			return n > 0, nil
		case statusOf(err) != http.StatusNotFound && n == 0:
			return false, err
		case statusOf(err) != http.StatusNotFound:
			return false, unproven(first(sent, err))
		case n > 0 && sent == nil:
			return false, unheard(name, "there is no such folder")
		case n == 2 || statusOf(sent) == http.StatusBadRequest:
			return false, sent
		}
		_, sent = c.jenkins.Requester.PostXML(ctx, path+"/createItem", folderXML(description), nil, map[string]string{"name": base})
		if sent != nil && (ctx.Err() != nil || !passing(sent) && statusOf(sent) != http.StatusBadRequest) {
			return false, c.aboutFolder(sent, name)
		}
	}
}

// settled reads a job that was just asked for. As long as Jenkins may be at work on it, it is waited for.
func (c *Controller) settled(ctx context.Context, name string, sent error) (Pipeline, error) {
	answered := sent == nil || statusOf(sent) > 0
	for n := 1; ; n++ {
		_, p, err := c.config(ctx, name)
		if err == nil || answered || n == looks || rollback.KindOf(err) != rollback.NotFound {
			return p, err
		}
		select {
		case <-ctx.Done():
			return Pipeline{}, &rollback.CallError{System: system, Op: "create " + name, Kind: rollback.Unreachable, Maybe: true, Err: context.Cause(ctx)}
		case <-c.r.pause(lookPause):
		}
	}
}

// aboutFolder says of a 404 what is missing: the folder, not the job.
func (c *Controller) aboutFolder(err error, name string) error {
	var f *rollback.CallError
	if errors.As(err, &f) && f.Kind == rollback.NotFound {
		f.Err = fmt.Errorf("the folder of %s is not there, or no folder: %w", name, f.Err)
		f.Fix = fmt.Sprintf("check the folder's name; Jenkins says the same of folders that the user %s may not see", c.r.user)
	}
	return err
}

func conflict(name, why string) error {
	return &rollback.CallError{System: system, Op: "configure " + name, Kind: rollback.Conflict, Err: errors.New(why),
		Fix: "look at its page in Jenkins, then run again"}
}

// unheard is an answer that says done where nothing was.
func unheard(name, why string) error {
	return &rollback.CallError{System: system, Op: "configure " + name, Kind: rollback.Conflict, Err: errors.New("the answer was done, but " + why),
		Fix: "check that no proxy answers in Jenkins' place, then run again"}
}

// proven is the failure of a write that was looked after and found undone.
func proven(err error) error {
	var f *rollback.CallError
	if errors.As(err, &f) && statusOf(err) > 0 { // Jenkins has answered and is done with it
		f.Maybe = false
	}
	return err
}

// unproven is a failure after which nobody knows whether it was done.
func unproven(err error) error {
	var f *rollback.CallError
	if errors.As(err, &f) && !f.Maybe {
		f.Maybe = true
		f.Err = fmt.Errorf("it was asked for, but could not be looked at: %w", f.Err)
	}
	return err
}
