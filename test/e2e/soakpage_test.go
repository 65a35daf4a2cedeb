package e2e

import "time"

func writeSoakPage(path string, seed uint64, length time.Duration, soaks []*soak) error { return nil }
