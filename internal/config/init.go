package config

import (
	_ "embed"
	"slices"
)

//go:embed starter.yaml
var starter []byte

// Init is the commented file that `rollback init` writes: it parses as it is and names every key.
func Init() []byte { return slices.Clone(starter) }
