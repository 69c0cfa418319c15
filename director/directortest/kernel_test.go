package directortest_test

import (
	"testing"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/directortest"
)

func TestModelAddresses(t *testing.T) {
	for _, tags := range []bool{true, false} {
		directortest.TestAddresses(t, "eth0", tags, func(*testing.T) director.Table[director.AddrKey, director.AddrSpec] {
			return directortest.NewKernel(tags).Process().Addresses()
		})
	}
}

func TestModelIPVS(t *testing.T) {
	directortest.TestIPVS(t, func(*testing.T) director.Table[director.Key, director.Spec] {
		return directortest.NewKernel(true).Process().IPVS()
	})
}
