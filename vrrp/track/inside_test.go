package track

import "os"

// insideEnv marks a test binary that was started again in namespaces of its own.
const insideEnv = "UNDERSTUDY_TEST_INSIDE"

func inside() bool { return os.Getenv(insideEnv) != "" }
