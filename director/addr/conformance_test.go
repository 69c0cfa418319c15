package addr

import (
	"testing"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/directortest"
)

func TestNetnsConformance(t *testing.T) {
	directortest.TestAddresses(t, "va", true, func(t *testing.T) director.Table[director.AddrKey, director.AddrSpec] {
		return newTable(t)
	})
}
