package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/understudy-ha/understudy/vrrp/simulate"
)

const pairOfExamples = "../../configs/examples/pair/"

func TestSimulate(t *testing.T) {
	args := []string{"simulate", pairOfExamples + "lb1.toml", pairOfExamples + "lb2.toml", "--hours", "1"}
	status, stdout, stderr := try(args...)
	if status != 0 || stderr != "" || !strings.Contains(stdout, "pause of lb1") || !strings.Contains(stdout, `advert_interval = "200ms"`) {
		t.Errorf("status %d, %q\n%s", status, stderr, stdout)
	}
	if _, again, _ := try(args...); again != stdout {
		t.Errorf("the same command says\n%s\nthen\n%s", stdout, again)
	}
	status, stdout, stderr = try(append(args, "--json")...)
	var all []simulate.JSON
	if err := json.Unmarshal([]byte(stdout), &all); status != 0 || stderr != "" || err != nil || len(all) != 1 || all[0].VRID != 51 {
		t.Errorf("status %d, %q, %v\n%s", status, stderr, err, stdout)
	}
}

func TestSimulateErrors(t *testing.T) {
	const file = pairOfExamples + "lb1.toml"
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "requires at least 1 arg"},
		{[]string{"none.toml"}, "none.toml"},
		{[]string{"../../configs/testdata/broken/wrong-case.toml"}, "wrong-case.toml:"},
		{[]string{file, "../../configs/examples/vrrp-only/a.toml"}, "has VRID 51 (web), and"},
		{[]string{"../../configs/examples/standalone/director.toml"}, "has no [[vrrp]]"},
		{[]string{file, "--loss", "1"}, "--loss: 1 is not a share"},
		{[]string{file, "--loss", "NaN"}, "--loss: NaN is not a share"},
		{[]string{file, "--pause", "-1s"}, "--pause: -1s is not within"},
		{[]string{file, "--pause", "0"}, "name one of the two"},
		{[]string{file, "--hours", "0"}, "--hours: 0 is not within"},
	} {
		status, stdout, stderr := try(append([]string{"simulate"}, c.args...)...)
		if status != 1 || stdout != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: status %d, %q, %q; want 1 and %q", c.args, status, stdout, stderr, c.want)
		}
	}
}
