package configs

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/vrrp"
)

// router returns a configuration of one virtual router with further keys.
func router(keys ...string) string {
	return "[[vrrp]]\nname = \"web\"\ninterface = \"eth0\"\n" + strings.Join(keys, "\n") + "\n"
}

// wrong reports whether text is refused with an error that has each of those words.
func wrong(t *testing.T, text string, words ...string) {
	t.Helper()
	_, err := Parse("test.toml", []byte(text))
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %v, want %q", text, err, w)
		}
	}
}

// RFC 9568 section 6.1. VRID: "Configurable value in the range 1-255 (decimal). There
// is no default." Priority: "The default value is 100 (decimal)." IPv4_Addresses: "One
// or more IPv4 addresses associated with this Virtual Router. Configured list of
// addresses with no default." Advertisement_Interval: "Default is 100 centiseconds (1
// second)." Preempt_Mode: "Default is True."
func TestRFC9568_6_1_Parameters(t *testing.T) {
	const addresses = `addresses = ["10.0.0.100"]`
	got := parse(t, router("vrid = 51", addresses)).Routers[0].Config
	want := vrrp.Config{
		Name: "web", VRID: 51, Version: vrrp.V3, Priority: 100, Interval: time.Second, Preempt: true,
		Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.100")},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("defaults: %+v, want %+v", got, want)
	}
	for _, n := range []int{1, 255} {
		c := parse(t, router(fmt.Sprintf("vrid = %d", n), fmt.Sprintf("priority = %d", n), addresses)).Routers[0].Config
		if int(c.VRID) != n || int(c.Priority) != n {
			t.Errorf("vrid %d, priority %d, want %d", c.VRID, c.Priority, n)
		}
	}
	for _, n := range []int{-1, 0, 256} {
		wrong(t, router(fmt.Sprintf("vrid = %d", n), addresses), "vrid", "1 to 255")
		wrong(t, router("vrid = 51", fmt.Sprintf("priority = %d", n), addresses), "priority", "1 to 255")
	}
	wrong(t, router(addresses), "vrid")
	wrong(t, router("vrid = 51"), "addresses")
	wrong(t, router("vrid = 51", "addresses = []"), "addresses")
}

// RFC 3768 section 6.1 has the same, and for Advertisement_Interval "Default is 1
// second." and whole seconds.
func TestRFC3768_6_1_Parameters(t *testing.T) {
	const addresses = `addresses = ["10.0.0.100"]`
	c := parse(t, router("vrid = 51", "version = 2", addresses)).Routers[0].Config
	if c.Version != vrrp.V2 || c.Priority != 100 || c.Interval != time.Second || !c.Preempt || c.Password != "" {
		t.Errorf("defaults: %+v", c)
	}
	for _, d := range []string{"500ms", "1500ms", "256s"} {
		wrong(t, router("vrid = 51", "version = 2", addresses, fmt.Sprintf("advert_interval = %q", d)), "advert_interval")
	}
	wrong(t, router("version = 2", addresses), "vrid")
	wrong(t, router("vrid = 51", "version = 2"), "addresses")
}

// "The address family of the addresses, IPv4 or IPv6 but not both, MUST be the same as
// the VRRP packet's": those of the other family are put on the interface all the same.
func TestRFC9568_5_2_9_BothFamilies(t *testing.T) {
	for addresses, want := range map[string]string{
		`["10.0.0.100/24", "fe80::200/64", "10.0.0.101/24"]`: "[10.0.0.100 10.0.0.101] [10.0.0.100/24 fe80::200/64 10.0.0.101/24]",
		`["fe80::200/64", "10.0.0.100/24", "fd00::200/64"]`:  "[fe80::200 fd00::200] [fe80::200/64 10.0.0.100/24 fd00::200/64]",
	} {
		c := parse(t, router("vrid = 51", "addresses = "+addresses))
		if got := fmt.Sprint(c.Routers[0].Config.Addresses, c.Director.Routers[0].Addresses); got != want {
			t.Errorf("%s: advertised and held %s, want %s", addresses, got, want)
		}
	}
}

// RFC 9568 sections 5.2.9 and 6.1: "The first address MUST be the Link-Local address
// associated with the Virtual Router." Another order is an error; to do without is
// warned of.
func TestRFC9568_6_1_LinkLocalFirst(t *testing.T) {
	wrong(t, router("vrid = 51", `addresses = ["fd00::200", "fe80::200"]`), "fe80::200 is not the first")
	wrong(t, router("vrid = 51", `addresses = ["fd00::200"]`, "strict = true"), "without a link-local one")
	for addresses, warnings := range map[string]int{
		`["fe80::200", "fd00::200"]`: 0,
		`["fd00::200"]`:              1,
		`["10.0.0.100"]`:             0,
	} {
		c := parse(t, router("vrid = 51", "addresses = "+addresses))
		if len(c.Warnings) != warnings {
			t.Errorf("%s: %d warnings, want %d: %v", addresses, len(c.Warnings), warnings, c.Warnings)
		}
	}
}
