package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/configs"
	"github.com/understudy-ha/understudy/vrrp"
)

// TestUnwanted: what was taken over is not taken back because of what was not.
func TestUnwanted(t *testing.T) {
	router := func(name, group string) configs.VirtualRouter {
		return configs.VirtualRouter{Config: vrrp.Config{Name: name}, Group: group}
	}
	list := []configs.VirtualRouter{router("a", ""), router("b", ""), router("c", "nat"), router("d", "nat")}
	for _, tt := range []struct {
		name       string
		successors [4]string
		want       []string
	}{
		{"all are", [4]string{"x", "x", "x", "x"}, nil},
		{"one is not", [4]string{"x", "", "x", "x"}, []string{"b"}},
		{"one of a group is not", [4]string{"x", "x", "x", ""}, []string{"d", "c"}},
		{"none is", [4]string{}, []string{"a", "b", "c", "d"}},
	} {
		var results []handedOver
		for i, s := range tt.successors {
			results = append(results, handedOver{Name: list[i].Config.Name, Successor: s})
		}
		var got []string
		for _, r := range unwanted(list, results) {
			got = append(got, r.Config.Name)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: -want +got\n%s", tt.name, diff)
		}
	}
}
