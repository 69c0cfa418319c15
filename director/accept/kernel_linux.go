package accept

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	table = "understudy"
	chain = "input"
	// priority comes after those of IPVS on the input hook, which are
	// NF_IP_PRI_NAT_SRC (100) less 2 and less 1 (ip_vs_ops4 and ip_vs_ops6 in
	// net/netfilter/ipvs/ip_vs_core.c), and before the kernel takes down new
	// connections (nf_confirm, INT_MAX).
	priority = 110

	// timeout bounds one exchange with the kernel.
	timeout = 5 * time.Second
	// chunk is how many addresses go into one message: the list of them is an
	// attribute, which has at most 65535 bytes.
	chunk = 500
	// buffer holds a transaction with ten thousands of addresses.
	buffer = 8 << 20
)

// The comments tell the rules apart. What has another comment, or none, is not
// ours as it is.
var comments = []string{"understudy: neighbour discovery", "understudy: accept = false, IPv4", "understudy: accept = false, IPv6"}

// kernel is the nftables of the network namespace of the calling thread. A
// socket is opened for each exchange: one that has failed would go on failing.
type kernel struct{}

func (kernel) conn() (*nftables.Conn, error) {
	return nftables.New(nftables.WithSockOptions(func(c *netlink.Conn) error {
		// Without it, a lost answer would be waited for until the end of time.
		if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
			return err
		}
		// Beyond the limits only with CAP_NET_ADMIN; large tables then fail.
		_ = c.SetWriteBuffer(buffer)
		_ = c.SetReadBuffer(buffer)
		return nil
	}))
}

// Preflight returns why the kernel cannot enforce accept = false, and what to do.
// It changes nothing.
func Preflight() error {
	c, err := kernel{}.conn()
	if err == nil {
		// A transaction that undoes itself.
		var t *nftables.Table
		if t, err = build(c, "understudy-preflight", []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}); err == nil {
			c.DelTable(t)
			err = c.Flush()
		}
	}
	if err != nil {
		return fmt.Errorf("accept = false needs nftables with the family inet, which this kernel refuses: %w; load the module (modprobe nf_tables), take a kernel with CONFIG_NF_TABLES_INET, or remove accept = false", first(err))
	}
	return nil
}

func (kernel) same(addresses []netip.Addr) (bool, error) {
	c, err := kernel{}.conn()
	if err != nil {
		return false, err
	}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(tables, func(t *nftables.Table) bool { return t.Name == table })
	if i < 0 || len(addresses) == 0 {
		return i < 0 && len(addresses) == 0, nil
	}
	t := tables[i]
	if t.Flags&unix.NFT_TABLE_F_DORMANT != 0 {
		return false, nil
	}
	// From here on an error may mean that a part is missing, which another table
	// repairs.
	ch, err := c.ListChain(t, chain)
	if err != nil || ch.Hooknum == nil || *ch.Hooknum != *nftables.ChainHookInput || ch.Priority == nil || *ch.Priority != priority {
		return false, nil
	}
	list, err := c.GetRules(t, ch)
	if err != nil || len(list) != len(comments) {
		return false, nil
	}
	for i, r := range list {
		if text, _ := userdata.GetString(r.UserData, userdata.TypeComment); text != comments[i] {
			return false, nil
		}
	}
	var have []netip.Addr
	for _, name := range []string{"ipv4", "ipv6"} {
		elements, err := c.GetSetElements(&nftables.Set{Table: t, Name: name})
		if err != nil {
			return false, nil
		}
		for _, e := range elements {
			if a, ok := netip.AddrFromSlice(e.Key); ok {
				have = append(have, a)
			}
		}
	}
	slices.SortFunc(have, netip.Addr.Compare)
	return slices.Equal(have, addresses), nil
}

func (kernel) replace(addresses []netip.Addr) error {
	c, err := kernel{}.conn()
	if err != nil {
		return err
	}
	// A table must be there to be deleted.
	c.DelTable(c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: table}))
	if len(addresses) > 0 {
		if _, err := build(c, table, addresses); err != nil {
			return err
		}
	}
	return first(c.Flush())
}

// first returns what the kernel said first of a transaction: what follows it
// refuses for that.
func first(err error) error {
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		return errno
	}
	return err
}

// build adds the table to a transaction.
func build(c *nftables.Conn, name string, addresses []netip.Addr) (*nftables.Table, error) {
	t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: name})
	last := nftables.ChainPriority(priority)
	pass := nftables.ChainPolicyAccept
	ch := c.AddChain(&nftables.Chain{
		Name: chain, Table: t, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: &last, Policy: &pass,
	})
	ipv4 := &nftables.Set{Table: t, Name: "ipv4", KeyType: nftables.TypeIPAddr, KeyByteOrder: binaryutil.BigEndian}
	ipv6 := &nftables.Set{Table: t, Name: "ipv6", KeyType: nftables.TypeIP6Addr, KeyByteOrder: binaryutil.BigEndian}
	var elements4, elements6 []nftables.SetElement
	for _, a := range addresses {
		if a.Is4() {
			elements4 = append(elements4, nftables.SetElement{Key: a.AsSlice()})
		} else {
			elements6 = append(elements6, nftables.SetElement{Key: a.AsSlice()})
		}
	}
	if err := errors.Join(fill(c, ipv4, elements4), fill(c, ipv6, elements6)); err != nil {
		return nil, err
	}
	for i, exprs := range [][]expr.Any{neighbours(), drop(unix.NFPROTO_IPV4, 16, 4, ipv4), drop(unix.NFPROTO_IPV6, 24, 16, ipv6)} {
		c.AddRule(&nftables.Rule{
			Table: t, Chain: ch, Exprs: exprs,
			UserData: userdata.AppendString(nil, userdata.TypeComment, comments[i]),
		})
	}
	return t, nil
}

// fill adds a set.
func fill(c *nftables.Conn, s *nftables.Set, elements []nftables.SetElement) error {
	err := c.AddSet(s, nil)
	for part := range slices.Chunk(elements, chunk) {
		err = errors.Join(err, c.SetAddElements(s, part))
	}
	return err
}

// neighbours lets Neighbor Solicitations and Advertisements pass (RFC 4861
// sections 4.3 and 4.4: ICMPv6 types 135 and 136).
func neighbours() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV6}},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_ICMPV6}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: []byte{135}, ToData: []byte{136}},
		&expr.Verdict{Kind: expr.VerdictAccept},
	}
}

// drop drops, and counts, what is sent to an address of a set. The destination
// is at offset in the header.
func drop(family byte, offset, length uint32, s *nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length},
		&expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID},
		&expr.Counter{},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}
}
