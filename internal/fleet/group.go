package fleet

import (
	"crypto/x509/pkix"
	"fmt"
	"path"
	"strings"
)

// Group is a set of phones, given by patterns of their names or models. The zero value has no member.
type Group struct {
	names, models []string // upper case
}

// modelPrefix begins a pattern that is held against the model.
const modelPrefix = "MODEL:"

// ParseGroup reads patterns in the form of path.Match: "CSF*" is held against the device name, "model:88*" against the
// model, with and without the "CP-" in front of it. Case does not matter. A pattern that can fit nothing is a *Problem
// with the code fleet.group.
func ParseGroup(patterns []string) (Group, error) {
	var g Group
	for _, p := range patterns {
		pattern, isModel := strings.CutPrefix(strings.ToUpper(strings.TrimSpace(p)), modelPrefix)
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			return Group{}, problem("fleet.group", fmt.Sprintf("%s is no pattern of device names or models", shown(p)),
				`use a pattern such as CSF* for names or model:88* for models; * is any text, ? one character, [0-9] one of several`)
		}
		if isModel {
			g.models = append(g.models, pattern)
		} else {
			g.names = append(g.names, pattern)
		}
	}
	return g, nil
}

// Has reports whether a phone is in the group.
func (g Group) Has(d *Device) bool {
	model := strings.ToUpper(d.Model)
	return matchAny(g.names, strings.ToUpper(d.Name)) ||
		matchAny(g.models, model) || matchAny(g.models, strings.TrimPrefix(model, "CP-"))
}

func matchAny(patterns []string, s string) bool {
	for _, p := range patterns {
		if ok, err := path.Match(p, s); err == nil && ok && s != "" {
			return true
		}
	}
	return false
}

// SubjectRule gives the phones of a group a subject of their own.
type SubjectRule struct {
	Group   Group
	Subject func(Device) ([]byte, error) // as Service.Subject
}

// ParseSubjectRules reads rules of the form PATTERN=TEMPLATE, e.g. "CSF*={name}" or "model:88*={model}-{name}": patterns
// as for ParseGroup, templates as for SubjectTemplate. A rule that does not parse is a *Problem with the code
// fleet.group or fleet.subject.
func ParseSubjectRules(rules []string, under pkix.Name) ([]SubjectRule, error) {
	parsed := make([]SubjectRule, 0, len(rules))
	for _, r := range rules {
		pattern, template, ok := strings.Cut(r, "=")
		if !ok {
			return nil, problem("fleet.subject", fmt.Sprintf("%s is no rule for subjects", shown(r)),
				"use PATTERN=TEMPLATE, for example model:88*={model}-{name}")
		}
		g, err := ParseGroup([]string{pattern})
		if err != nil {
			return nil, err
		}
		template = strings.TrimSpace(template)
		if err := CheckSubjectTemplate(template); err != nil {
			return nil, err
		}
		parsed = append(parsed, SubjectRule{Group: g, Subject: SubjectTemplate(template, under)})
	}
	return parsed, nil
}

// CheckSubjectTemplate says whether phones with certificates of this template can be told apart by them: the common name
// has to be the device name or to end in "-" and the device name (spec: CAPF section 8). The error is a *Problem with
// the code fleet.subject.
func CheckSubjectTemplate(template string) error {
	if template == "{name}" || strings.HasSuffix(template, "-{name}") {
		return nil
	}
	return problem("fleet.subject", fmt.Sprintf("the subject %s does not end in the device name", shown(template)),
		"use {name}, or a template that ends in -{name}, for example {model}-{name}: by that name phones are recognised")
}
