package cli

import (
	"regexp"
	"slices"
	"strings"

	"callsign/internal/cluster/purpose"
)

// records finds commands that read the configuration, with the arguments that are certain to be theirs: flags with their
// values, names in capitals, purposes and trust stores, whole IDs of requests, beginnings of fingerprints, and what is quoted.
var records = regexp.MustCompile(`callsign (?:phone [a-z]+|capf (?:(?:ca|csr|stale-lsc) )?[a-z]+|ra (?:request [a-z]+|probe)|ca check|cert (?:list|upload|regen|check)|csr [a-z]+|trust [a-z]+|subject [a-z]+|config (?:validate|show)|check|reload|serve)\b` +
	`(?: (?:--[a-z][a-z-]*(?: [A-Za-z0-9_./](?:[A-Za-z0-9_./-]*[A-Za-z0-9])?)?|(?:` + certificateNames() + `)\b|[A-Z](?:[A-Z0-9._-]*[A-Z0-9])?(?:\.\.\.)?|[0-9a-f]{16,64}\b|'[^']*'))*`)

// certificateNames are the purposes and trust stores, as an expression: the longer before the shorter that they begin with.
func certificateNames() string {
	names := slices.Concat(purpose.StoreNames(), purpose.Names())
	slices.SortStableFunc(names, func(a, b string) int { return len(b) - len(a) })
	return strings.Join(names, "|")
}

// ofCluster finds the commands among them that work on one cluster.
var ofCluster = regexp.MustCompile(`^callsign (?:cert|csr|trust|subject) `)

// toCopy repeats --cluster and --config in the commands of a text that was written where nobody knows the configuration's
// name, so that they can be copied as they stand.
func (e *env) toCopy(text string) string {
	flag, cluster := e.configFlag(), ""
	if e.cluster != "" {
		cluster = " --cluster " + shellQuote(e.cluster)
	}
	if flag+cluster == "" || strings.Contains(text, "--config") || strings.Contains(text, "--cluster") {
		return text
	}
	return records.ReplaceAllStringFunc(text, func(command string) string {
		if ofCluster.MatchString(command) {
			return command + cluster + flag
		}
		return command + flag
	})
}
