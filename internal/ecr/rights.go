package ecr

// Action is one right that a method of Registry uses.
type Action struct {
	Method string // of Registry
	Name   string // as an IAM policy writes it: "ecr:PutImage"
	// Write is set when the right changes something; everything else is needed to plan already.
	Write bool
	// Optional is set when the method does its work without it and says what it could not tell.
	Optional bool
}

// Actions are the rights that the registry needs, all on the repository's ARN. sts:GetCallerIdentity needs none
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html).
var Actions = []Action{
	{Method: "Repository", Name: "ecr:DescribeRepositories"},
	{Method: "Repository", Name: "ecr:GetLifecyclePolicy", Optional: true},
	{Method: "Images", Name: "ecr:DescribeImages"},
	{Method: "Images", Name: "ecr:BatchGetImage"}, // when one of several is missing
	{Method: "Manifests", Name: "ecr:BatchGetImage"},
	{Method: "List", Name: "ecr:DescribeImages"},
	{Method: "Tag", Name: "ecr:PutImage", Write: true},
	{Method: "Tag", Name: "ecr:DescribeImages", Optional: true},       // to look after a lost answer
	{Method: "Tag", Name: "ecr:DescribeRepositories", Optional: true}, // for the remedy when the tag is immutable
}
