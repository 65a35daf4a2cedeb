package ecr

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// operations are the calls this adapter makes. They are functions and not the SDK's clients: a type whose fields lead to a
// client keeps all of its methods in the binary once the type becomes an interface, 0.7 MB of them. (The linker cannot
// tell what is called by reflection, because urfave/cli's help is a text/template.)
type operations struct {
	DescribeRepositories func(context.Context, *ecr.DescribeRepositoriesInput, ...func(*ecr.Options)) (*ecr.DescribeRepositoriesOutput, error)
	GetLifecyclePolicy   func(context.Context, *ecr.GetLifecyclePolicyInput, ...func(*ecr.Options)) (*ecr.GetLifecyclePolicyOutput, error)
	DescribeImages       func(context.Context, *ecr.DescribeImagesInput, ...func(*ecr.Options)) (*ecr.DescribeImagesOutput, error)
	BatchGetImage        func(context.Context, *ecr.BatchGetImageInput, ...func(*ecr.Options)) (*ecr.BatchGetImageOutput, error)
	PutImage             func(context.Context, *ecr.PutImageInput, ...func(*ecr.Options)) (*ecr.PutImageOutput, error)

	GetCallerIdentity func(context.Context, *sts.GetCallerIdentityInput, ...func(*sts.Options)) (*sts.GetCallerIdentityOutput, error)
}

func operationsOf(c *ecr.Client, s *sts.Client) operations {
	return operations{c.DescribeRepositories, c.GetLifecyclePolicy, c.DescribeImages, c.BatchGetImage, c.PutImage, s.GetCallerIdentity}
}
