#!/usr/bin/env python3
"""Cuts what this fake knows out of GitHub's OpenAPI description and GraphQL schema, without their documentation.

Run it in this directory. It fetches @octokit/openapi and @octokit/graphql-schema with npm and rewrites openapi.json and
graphql.json.
"""
import json
import os
import subprocess
import tarfile
import tempfile

OPENAPI = "23.0.2"
GRAPHQL = "15.26.1"

# Path → methods. Paths that begin with "…" lie under /repos/{owner}/{repo}.
OPERATIONS = {
    "/app": "get",
    "/app/installations/{installation_id}/access_tokens": "post",
    "/rate_limit": "get",
    "/user": "get",
    "…": "get",
    "…/branches": "get",
    "…/branches/{branch}": "get",
    "…/commits": "get",
    "…/commits/{commit_sha}/pulls": "get",
    "…/commits/{ref}": "get",
    "…/commits/{ref}/check-runs": "get",
    "…/commits/{ref}/status": "get",
    "…/commits/{ref}/statuses": "get",
    "…/compare/{basehead}": "get",
    "…/contents/{path}": "get",
    "…/deployments": "get post",
    "…/deployments/{deployment_id}": "get",
    "…/deployments/{deployment_id}/statuses": "get post",
    "…/git/blobs": "post",
    "…/git/blobs/{file_sha}": "get",
    "…/git/commits": "post",
    "…/git/commits/{commit_sha}": "get",
    "…/git/matching-refs/{ref}": "get",
    "…/git/ref/{ref}": "get",
    "…/git/refs": "post",
    "…/git/refs/{ref}": "patch delete",
    "…/git/trees": "post",
    "…/git/trees/{tree_sha}": "get",
    "…/installation": "get",
    "…/issues": "post",
    "…/issues/{issue_number}": "get",
    "…/issues/{issue_number}/assignees": "post",
    "…/issues/{issue_number}/comments": "get post",
    "…/issues/{issue_number}/labels": "get post",
    "…/merges": "post",
    "…/pulls": "get post",
    "…/pulls/{pull_number}": "get patch",
    "…/pulls/{pull_number}/commits": "get",
    "…/pulls/{pull_number}/files": "get",
    "…/pulls/{pull_number}/merge": "get put",
    "…/pulls/{pull_number}/requested_reviewers": "get post",
    "…/pulls/{pull_number}/reviews": "get post",
    "…/rules/branches/{branch}": "get",
    "…/statuses/{sha}": "post",
}

# The GraphQL types whose fields are kept, all of them; whatever else a field names is kept by name alone.
TYPES = """
Query Mutation Repository Ref Commit CommitHistoryConnection CommitConnection CommitEdge GitActor GitObject GitObjectID Tree Blob
PullRequest PullRequestConnection PullRequestEdge PullRequestCommit PullRequestCommitConnection PullRequestCommitEdge
PullRequestChangedFile PullRequestChangedFileConnection PullRequestReview PullRequestReviewConnection
PullRequestReviewState PullRequestReviewDecision PullRequestState MergeableState MergeStateStatus PullRequestMergeMethod
AutoMergeRequest Actor User Bot Organization RepositoryOwner Label LabelConnection LabelEdge
StatusCheckRollup StatusCheckRollupContext StatusCheckRollupContextConnection StatusContext StatusState CheckRun CheckRunState
CheckConclusionState CheckStatusState CheckSuite App BranchProtectionRule MergeQueue MergeQueueEntry MergeQueueEntryState
MergeQueueEntryConnection PageInfo RateLimit RepositoryPermission RefConnection RefEdge Node IssueComment IssueCommentConnection
ReviewRequest ReviewRequestConnection RequestedReviewer UserConnection GitSignature
RevertPullRequestInput RevertPullRequestPayload EnablePullRequestAutoMergeInput EnablePullRequestAutoMergePayload
DisablePullRequestAutoMergeInput DisablePullRequestAutoMergePayload MergePullRequestInput MergePullRequestPayload
MarkPullRequestReadyForReviewInput MarkPullRequestReadyForReviewPayload ConvertPullRequestToDraftInput ConvertPullRequestToDraftPayload
EnqueuePullRequestInput EnqueuePullRequestPayload DequeuePullRequestInput DequeuePullRequestPayload
ClosePullRequestInput ClosePullRequestPayload ReopenPullRequestInput ReopenPullRequestPayload
CreatePullRequestInput CreatePullRequestPayload UpdatePullRequestInput UpdatePullRequestPayload
AddCommentInput AddCommentPayload AddPullRequestReviewInput AddPullRequestReviewPayload PullRequestReviewEvent
DeleteRefInput DeleteRefPayload IssueOrPullRequest Issue
PullRequestOrder PullRequestOrderField OrderDirection IssueOrderField IssueOrder CommitAuthor RefOrder RefOrderField
Team TeamConnection PatchStatus FileViewedState GitActorConnection GitSignatureState GpgSignature UnknownSignature
CommentAuthorAssociation IssueCommentEdge PullRequestUpdateState RepositoryVisibility TreeEntry PullRequestReviewEdge Status Milestone
ReactionGroup SubscriptionState IssueState LabelOrder LabelOrderField RefUpdateRule
String Int Float Boolean ID DateTime URI HTML GitTimestamp Date PreciseDateTime GitSSHRemote BigInt Base64String X509Certificate
""".split()

# Of these only what a client of this fake could use: the whole list would be most of the file.
SOME_FIELDS = {
    "Query": "node nodes rateLimit repository viewer user",
    "Mutation": "revertPullRequest enablePullRequestAutoMerge disablePullRequestAutoMerge mergePullRequest markPullRequestReadyForReview "
                "convertPullRequestToDraft enqueuePullRequest dequeuePullRequest closePullRequest reopenPullRequest createPullRequest "
                "updatePullRequest addComment addPullRequestReview deleteRef",
    "User": "id login name email databaseId url avatarUrl resourcePath createdAt updatedAt isViewer",
    "Team": "id name slug databaseId url combinedSlug organization",
    "Organization": "id login name email databaseId url avatarUrl resourcePath createdAt updatedAt",
    "Bot": "id login databaseId url avatarUrl resourcePath createdAt updatedAt",
    "App": "id name slug databaseId url description createdAt updatedAt",
    "Issue": "id number title body state url createdAt updatedAt",
    "CheckSuite": "id databaseId app branch commit conclusion status url createdAt updatedAt workflowRun",
}

TEXT = {"description", "summary", "title", "example", "examples", "externalDocs", "deprecated", "readOnly", "default", "discriminator", "links"}


def fetch(package, version, member, into):
    subprocess.run(["npm", "pack", "--silent", f"{package}@{version}"], cwd=into, check=True, stdout=subprocess.DEVNULL)
    name = package.replace("@", "").replace("/", "-") + f"-{version}.tgz"
    with tarfile.open(os.path.join(into, name)) as tar:
        return json.load(tar.extractfile("package/" + member))


def strip(value, names=False):
    """Drops documentation; below "properties" the keys are names, not keywords."""
    if isinstance(value, dict):
        return {k: strip(v, k == "properties" and not names) for k, v in value.items()
                if names or not (k in TEXT or k.startswith("x-"))}
    if isinstance(value, list):
        return [strip(v) for v in value]
    return value


def openapi(doc):
    paths = {}
    for short, methods in OPERATIONS.items():
        path = short.replace("…", "/repos/{owner}/{repo}")
        for method in methods.split():
            op = doc["paths"][path][method]
            kept = {"operationId": op["operationId"], "parameters": op.get("parameters", []), "responses": op["responses"]}
            if "requestBody" in op:
                kept["requestBody"] = op["requestBody"]
            paths.setdefault(path, {})[method] = strip(kept)
    components = {}

    def collect(value):
        if isinstance(value, dict):
            ref = value.get("$ref")
            if isinstance(ref, str):
                _, _, kind, name = ref.split("/")
                if name not in components.setdefault(kind, {}):
                    components[kind][name] = True
                    components[kind][name] = strip(doc["components"][kind][name])
                    collect(components[kind][name])
            for v in value.values():
                collect(v)
        elif isinstance(value, list):
            for v in value:
                collect(v)

    collect(paths)
    components.pop("headers", None)
    for ops in paths.values():
        for op in ops.values():
            for r in op["responses"].values():
                r.pop("headers", None)
    return {
        "notice": f"Part of GitHub's OpenAPI description of @octokit/openapi {OPENAPI}, without documentation. MIT License; see NOTICE.",
        "paths": paths,
        "components": components,
    }


def graphql(doc):
    def spell(t):
        if t["kind"] == "NON_NULL":
            return spell(t["ofType"]) + "!"
        if t["kind"] == "LIST":
            return "[" + spell(t["ofType"]) + "]"
        return t["name"]

    def arguments(args):
        # An argument with a default value may be left out even if it must not be null.
        return {a["name"]: spell(a["type"]) + (" = " + a["defaultValue"] if a.get("defaultValue") else "") for a in args}

    types = {}
    for t in doc["__schema"]["types"]:
        name = t["name"]
        if name not in TYPES:
            continue
        some = SOME_FIELDS.get(name, "").split()
        out = {"kind": t["kind"]}
        if t.get("fields"):
            out["fields"] = {f["name"]: {"type": spell(f["type"]), "args": arguments(f["args"])} if f["args"] else {"type": spell(f["type"])}
                             for f in t["fields"] if not some or f["name"] in some}
        if t.get("inputFields"):
            out["inputs"] = arguments(t["inputFields"])
        if t.get("enumValues"):
            out["values"] = [v["name"] for v in t["enumValues"]]
        if t.get("possibleTypes"):
            out["possible"] = [p["name"] for p in t["possibleTypes"] if p["name"] in TYPES]
        types[name] = out
    missing = set(TYPES) - set(types)
    if missing:
        raise SystemExit(f"not in the schema: {sorted(missing)}")
    # What fields name beside these: only the kind, so that a selection on them can be checked.
    kinds = {t["name"]: t["kind"] for t in doc["__schema"]["types"]}
    named = set()
    for t in types.values():
        for f in t.get("fields", {}).values():
            named.add(f["type"].strip("[]!"))
            named.update(a.split(" = ")[0].strip("[]!") for a in f.get("args", {}).values())
        named.update(a.split(" = ")[0].strip("[]!") for a in t.get("inputs", {}).values())
    for name in named - set(types):
        types[name] = {"kind": kinds[name]}
    return {
        "notice": f"Part of GitHub's GraphQL schema of @octokit/graphql-schema {GRAPHQL}, without documentation. MIT License; see NOTICE.",
        "types": types,
    }


def write(name, value):
    with open(name, "w", encoding="utf-8") as f:
        json.dump(value, f, indent=0, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        f.write("\n")
    print(name, os.path.getsize(name))


def main():
    with tempfile.TemporaryDirectory() as tmp:
        write("openapi.json", openapi(fetch("@octokit/openapi", OPENAPI, "generated/api.github.com.json", tmp)))
        write("graphql.json", graphql(fetch("@octokit/graphql-schema", GRAPHQL, "schema.json", tmp)))


main()
