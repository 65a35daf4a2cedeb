package ecr

// Action is one right that a method of Registry uses.
type Action struct {
	Method string // of Registry
	Name   string // as an IAM policy writes it: "ecr:PutImage"
	// Why says what it is for; of an optional one also what is lost without it.
	Why string
	// Write is set when the right changes something; everything else is needed to plan already.
	Write bool
	// Optional is set when the method does its work without it and says what it could not tell.
	Optional bool
}

// Actions are the rights that the registry needs, all on the repository's ARN. sts:GetCallerIdentity needs none
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html).
var Actions = []Action{
	{Method: "Repository", Name: "ecr:DescribeRepositories", Why: "read the repository's settings: whether tags may be moved"},
	{Method: "Repository", Name: "ecr:GetLifecyclePolicy", Optional: true, Why: "warn when a lifecycle rule takes the target or the outgoing image; without it that is said not to be checked"},
	{Method: "Images", Name: "ecr:DescribeImages", Why: "find images by tag and digest"},
	{Method: "Images", Name: "ecr:BatchGetImage", Why: "tell which of several images is missing"},
	{Method: "Manifests", Name: "ecr:BatchGetImage", Why: "read manifests: the digests that prove what runs"},
	{Method: "List", Name: "ecr:DescribeImages", Why: "list the repository"},
	{Method: "Tag", Name: "ecr:PutImage", Write: true, Why: "move the tag, and keep the outgoing image by another"},
	{Method: "Tag", Name: "ecr:DescribeImages", Optional: true, Why: "look after a lost answer; without it what became of the write is not known"},
	{Method: "Tag", Name: "ecr:DescribeRepositories", Optional: true, Why: "name the remedy when the tag is immutable; without it there is none"},
}
