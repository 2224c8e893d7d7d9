package chain_test

import (
	"callsign/chain"
)

// three is a chain of root, two intermediates and a leaf, each with these extensions: what policies need to show.
func three(upper, lower, leaf []exten) func() sample {
	return func() sample {
		top := root("Root")
		a := top.ca("Upper", with(upper...))
		b := a.ca("Lower", with(lower...))
		return sample{presented: append([][]byte{b.leaf(with(leaf...))}, certs(b, a)...), store: certs(top)}
	}
}

// rolled is a chain of root, an intermediate, a self-issued one of its name, another intermediate and a leaf.
func rolled(upper, own, lower, leaf []exten) func() sample {
	return func() sample {
		top := root("Root")
		a := top.ca("Upper", with(upper...))
		next := a.caWithKey(a.subject, ecKey("Upper's next"), with(own...))
		b := next.ca("Lower", with(lower...))
		return sample{presented: append([][]byte{b.leaf(with(leaf...))}, certs(b, next, a)...), store: certs(top)}
	}
}

// four is the same with one of another name in its place.
func four(upper, middle, lower, leaf []exten) func() sample {
	return func() sample {
		top := root("Root")
		a := top.ca("Upper", with(upper...))
		b := a.ca("Middle", with(middle...))
		c := b.ca("Lower", with(lower...))
		return sample{presented: append([][]byte{c.leaf(with(leaf...))}, certs(c, b, a)...), store: certs(top)}
	}
}

type ext = []exten

// many are the policies 1 to n, each mapped to itself plus 1000.
func many(n int) (exten, exten) {
	var ids []int
	var pairs [][2]int
	for i := 1; i <= n; i++ {
		ids = append(ids, i)
		pairs = append(pairs, [2]int{i, i + 1000})
	}
	return policies(ids...), mappings(pairs...)
}

func manyMappings(leafPolicy int) func() sample {
	own, _ := many(100)
	_, mapped := many(999)
	return three(ext{policies(0), demand(0, -1)}, ext{own, mapped}, ext{policies(leafPolicy)})
}

func manyMapped(n int, leafPolicy int) func() sample {
	own, mapped := many(n)
	return three(ext{policies(0), demand(0, -1)}, ext{own, mapped}, ext{policies(leafPolicy)})
}

const nothing = -1

// policyCases are about certificate policies. Where none is demanded, they do not matter.
func policyCases() []conformance {
	return []conformance{
		{rule: "certificate_policy", name: "one policy all the way down", make: three(ext{policies(1), demand(0, nothing)}, ext{policies(1)}, ext{policies(1)})},
		{rule: "certificate_policy", name: "leaf without", make: three(ext{policies(1), demand(0, nothing)}, ext{policies(1)}, nil), want: always("certificate_policy@0")},
		{rule: "certificate_policy", name: "leaf with another", make: three(ext{policies(1), demand(0, nothing)}, ext{policies(1)}, ext{policies(2)}), want: always("certificate_policy@0")},
		{rule: "certificate_policy", name: "intermediate without", make: three(ext{policies(1), demand(0, nothing)}, nil, ext{policies(1)}), want: always("certificate_policy@1")},
		{rule: "certificate_policy", name: "intermediate with another", make: three(ext{policies(1), demand(0, nothing)}, ext{policies(2)}, ext{policies(2)}), want: always("certificate_policy@1")},
		{rule: "certificate_policy", name: "the one that demands has none", make: three(ext{demand(0, nothing)}, ext{policies(1)}, ext{policies(1)}), want: always("certificate_policy@1")},
		{rule: "certificate_policy", name: "different ones, and nothing demanded", make: three(ext{policies(1)}, ext{policies(2)}, ext{policies(3)})},
		{rule: "certificate_policy", name: "one in common among several", make: three(ext{policies(1, 2, 3), demand(0, nothing)}, ext{policies(2, 3, 4)}, ext{policies(5, 3)})},

		{rule: "certificate_policy", name: "demanded after one, leaf without", make: three(ext{policies(1), demand(1, nothing)}, ext{policies(1)}, nil), want: always("certificate_policy@0")},
		{rule: "certificate_policy", name: "demanded after one, intermediate without", make: three(ext{policies(1), demand(1, nothing)}, nil, nil), want: always("certificate_policy@0")},
		// The end of the path counts down once more: RFC 5280 6.1.5 (a).
		{rule: "certificate_policy", name: "demanded after two, leaf without", make: three(ext{policies(1), demand(2, nothing)}, ext{policies(1)}, nil), want: always("certificate_policy@0")},
		{rule: "certificate_policy", name: "demanded after three, leaf without", make: three(ext{policies(1), demand(3, nothing)}, ext{policies(1)}, nil)},
		{rule: "certificate_policy", name: "demanded later by the lower one", make: three(ext{policies(1), demand(5, nothing)}, ext{policies(1), demand(0, nothing)}, nil), want: always("certificate_policy@0")},
		{rule: "certificate_policy", name: "demanded earlier by the upper one", make: three(ext{policies(1), demand(0, nothing)}, ext{policies(1), demand(5, nothing)}, nil), want: always("certificate_policy@0")},
		{rule: "certificate_policy", name: "demanded by the leaf, and kept", make: three(ext{policies(1)}, ext{policies(1)}, ext{policies(1), demand(0, nothing)})},
		{rule: "certificate_policy", name: "demanded by the leaf, and not kept", make: three(ext{policies(1)}, ext{policies(2)}, ext{policies(2), demand(0, nothing)}), want: always("certificate_policy@0")},
		{
			rule: "certificate_policy", name: "self-issued ones are not counted", make: rolled(ext{policies(1), demand(4, nothing)}, ext{policies(1)}, ext{policies(1)}, nil), want: always(""),
		},
		{rule: "certificate_policy", name: "the anchor demands nothing", root: []edit{with(demand(0, nothing))}},
		{rule: "certificate_policy", name: "a negative demand", make: three(ext{policies(1), {ce(36), true, seqOf([]byte{0x80, 1, 0xFF})}}, ext{policies(1)}, nil), want: always("certificate_policy@0")},

		{rule: "certificate_policy", name: "anyPolicy in the CAs", make: three(ext{policies(0), demand(0, nothing)}, ext{policies(0)}, ext{policies(1)})},
		{rule: "certificate_policy", name: "anyPolicy in the leaf", make: three(ext{policies(1), demand(0, nothing)}, ext{policies(1)}, ext{policies(0)})},
		{rule: "certificate_policy", name: "anyPolicy everywhere", make: three(ext{policies(0), demand(0, nothing)}, ext{policies(0)}, ext{policies(0)})},
		{rule: "certificate_policy", name: "anyPolicy inhibited in the intermediate", make: three(ext{policies(1), demand(0, nothing), inhibitAny(0)}, ext{policies(0)}, ext{policies(1)}), want: always("certificate_policy@1")},
		{rule: "certificate_policy", name: "anyPolicy inhibited, and not used", make: three(ext{policies(1), demand(0, nothing), inhibitAny(0)}, ext{policies(1)}, ext{policies(1)})},
		{rule: "certificate_policy", name: "anyPolicy inhibited after one, in the intermediate", make: three(ext{policies(1), demand(0, nothing), inhibitAny(1)}, ext{policies(0)}, ext{policies(1)})},
		{rule: "certificate_policy", name: "anyPolicy inhibited after one, in the leaf", make: three(ext{policies(1), demand(0, nothing), inhibitAny(1)}, ext{policies(1)}, ext{policies(0)}), want: always("certificate_policy@0")},
		{rule: "certificate_policy", name: "anyPolicy inhibited, in a self-issued one", make: rolled(ext{policies(1), demand(0, nothing), inhibitAny(0)}, ext{policies(0)}, ext{policies(1)}, ext{policies(1)})},
		{rule: "certificate_policy", name: "anyPolicy inhibited, in one below a self-issued one", make: rolled(ext{policies(1), demand(0, nothing), inhibitAny(0)}, ext{policies(0)}, ext{policies(0)}, ext{policies(1)}), want: always("certificate_policy@1")},

		{rule: "certificate_policy", name: "mapped", make: three(ext{policies(1), demand(0, nothing), mappings([2]int{1, 2})}, ext{policies(2)}, ext{policies(2)})},
		{rule: "certificate_policy", name: "mapped, and the old one used", make: three(ext{policies(1), demand(0, nothing), mappings([2]int{1, 2})}, ext{policies(1)}, ext{policies(1)}), want: always("certificate_policy@1")},
		{rule: "certificate_policy", name: "mapped to two", make: three(ext{policies(1), demand(0, nothing), mappings([2]int{1, 2}, [2]int{1, 3})}, ext{policies(3)}, ext{policies(3)})},
		{rule: "certificate_policy", name: "mapped twice", make: three(ext{policies(1), demand(0, nothing), mappings([2]int{1, 2})}, ext{policies(2), mappings([2]int{2, 3})}, ext{policies(3)})},
		{rule: "certificate_policy", name: "two changed over", make: three(ext{policies(1), demand(0, nothing), mappings([2]int{1, 2}, [2]int{2, 1})}, ext{policies(2)}, ext{policies(2)})},
		{rule: "certificate_policy", name: "one mapped that the CA does not have", make: three(ext{policies(1), demand(0, nothing), mappings([2]int{4, 2})}, ext{policies(2)}, ext{policies(2)}), want: always("certificate_policy@1")},
		{rule: "certificate_policy", name: "mapped out of anyPolicy", make: three(ext{policies(0), demand(0, nothing), mappings([2]int{1, 2})}, ext{policies(2)}, ext{policies(2)})},
		{rule: "certificate_policy", name: "mapping inhibited", make: three(ext{policies(1), demand(0, 0)}, ext{policies(1), mappings([2]int{1, 2})}, ext{policies(2)}), want: always("certificate_policy@0")},
		{rule: "certificate_policy", name: "mapping inhibited, and the old one used", make: three(ext{policies(1), demand(0, 0)}, ext{policies(1), mappings([2]int{1, 2})}, ext{policies(1)}), want: always("certificate_policy@0")},
		{rule: "certificate_policy", name: "mapping inhibited, and another one used", make: three(ext{policies(1, 3), demand(0, 0)}, ext{policies(1, 3), mappings([2]int{1, 2})}, ext{policies(3)})},
		{rule: "certificate_policy", name: "mapping inhibited after one", make: three(ext{policies(1), demand(0, 1)}, ext{policies(1), mappings([2]int{1, 2})}, ext{policies(2)})},
		{rule: "certificate_policy", name: "mapping inhibited after one, which has passed", make: four(ext{policies(1), demand(0, 1)}, ext{policies(1)}, ext{policies(1), mappings([2]int{1, 2})}, ext{policies(2)}), want: always("certificate_policy@0")},
		{rule: "certificate_policy", name: "mapping inhibited after one, and a self-issued one has passed", make: rolled(ext{policies(1), demand(0, 1)}, ext{policies(1)}, ext{policies(1), mappings([2]int{1, 2})}, ext{policies(2)})},
		{rule: "certificate_policy", name: "mapping inhibited by a negative number", make: three(ext{policies(1), {ce(36), true, seqOf([]byte{0x80, 1, 0}, []byte{0x81, 1, 0xFF})}}, ext{policies(1), mappings([2]int{1, 2})}, ext{policies(2)}), want: always("certificate_policy@0")},
		{rule: "certificate_policy", name: "anyPolicy inhibited by a negative number", make: three(ext{policies(1), demand(0, nothing), inhibitAny(-1)}, ext{policies(0)}, ext{policies(1)}), want: always("certificate_policy@1")},
		{rule: "certificate_policy", name: "mapping inhibited and nothing demanded", make: three(ext{policies(1), demand(nothing, 0)}, ext{policies(1), mappings([2]int{1, 2})}, ext{policies(2)})},
		{rule: "certificate_policy", name: "a hundred mapped, the new one used", make: manyMapped(100, 1007)},
		{rule: "certificate_policy", name: "a hundred mapped, the old one used", make: manyMapped(100, 7), want: always("certificate_policy@0")},
		// More than anybody has are no policies at all, rather than some of them.
		{rule: "certificate_policy", name: "a thousand policies", make: manyMapped(999, 1007), want: always("certificate_policy@1")},
		{rule: "certificate_policy", name: "a thousand mappings, the old one used", make: manyMappings(7), want: always("certificate_policy@0")},

		{rule: "policy_mapping", name: "between policies", make: three(ext{policies(1), mappings([2]int{1, 2})}, ext{policies(2)}, ext{policies(2)})},
		{rule: "policy_mapping", name: "from anyPolicy", make: three(ext{policies(0), mappings([2]int{0, 2})}, ext{policies(2)}, ext{policies(2)}), want: always("policy_mapping@2")},
		{rule: "policy_mapping", name: "to anyPolicy", make: three(ext{policies(1)}, ext{policies(1), mappings([2]int{1, 0})}, ext{policies(1)}), want: always("policy_mapping@1")},
		{rule: "policy_mapping", name: "to anyPolicy in the root", root: []edit{with(policies(1), mappings([2]int{1, 0}))}},

		{rule: "policy_constraints_critical", name: "critical", make: three(ext{policies(1), demand(0, nothing)}, ext{policies(1)}, ext{policies(1)})},
		{rule: "policy_constraints_critical", name: "not critical", make: three(ext{policies(1), uncritical(demand(0, nothing))}, ext{policies(1)}, ext{policies(1)}), want: since(chain.Strict, "policy_constraints_critical@2")},
		{
			rule: "policy_constraints_critical", name: "not critical, and processed all the same", make: three(ext{policies(1), uncritical(demand(0, nothing))}, ext{policies(1)}, nil),
			want: verdicts{"certificate_policy@0", "certificate_policy@0 policy_constraints_critical@2", "certificate_policy@0 policy_constraints_critical@2"},
		},
	}
}
