package config

import (
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"callsign/cmc"
	"callsign/internal/enroll"
	"callsign/internal/fleet"
)

// The checks of single values. Each returns "" or what is wrong; who calls adds the value.

func oneOf(values ...string) func(any) string {
	return func(value any) string {
		if slices.Contains(values, value.(string)) {
			return ""
		}
		text := "must be " + strings.Join(values[:len(values)-1], ", ") + " or " + values[len(values)-1]
		if near := nearest(value.(string), values); near != "" {
			text += fmt.Sprintf(", did you mean %q?", near)
		}
		return text
	}
}

// hosts judges a list of HOST or HOST:PORT.
func hosts(value any) string {
	for _, h := range value.([]string) {
		text := h
		if !strings.Contains(h, ":") {
			text += ":88"
		}
		if host, _, err := net.SplitHostPort(text); err != nil || host == "" || address(text) != "" || strings.ContainsAny(h, " /@") {
			return fmt.Sprintf("must list HOST or HOST:PORT, not %q", h)
		}
	}
	return ""
}

// realm judges the name of a Kerberos realm.
func realm(value any) string {
	if strings.ContainsAny(value.(string), " \t@/\\:") {
		return "must be the DNS name of a domain"
	}
	return ""
}

// servicePrincipal judges the name of a service, such as HTTP/host.
func servicePrincipal(value any) string {
	text := value.(string)
	class, host, ok := strings.Cut(text, "/")
	if text != "" && (!ok || class == "" || host == "" || strings.ContainsAny(text, " \t@\\")) {
		return "must be CLASS/HOST, such as HTTP/ca.example.com"
	}
	return ""
}

// account judges a pattern for the name of an account.
func account(value any) string {
	text := value.(string)
	if text == "" {
		return ""
	}
	if _, err := cmc.ParseAccountPattern(text, ".+"); err != nil {
		return `must be DOMAIN\{name}$ or DOMAIN\{name}`
	}
	return ""
}

func between(low, high int) func(any) string {
	return func(value any) string {
		if n := value.(int); n < low || n > high {
			return fmt.Sprintf("must be %d to %d", low, high)
		}
		return ""
	}
}

func lasts(low, high time.Duration) func(any) string {
	return func(value any) string {
		if d := value.(time.Duration); d < low || d > high {
			return fmt.Sprintf("must be %s to %s", low, high)
		}
		return ""
	}
}

// address is HOST:PORT, or empty for no listener.
func address(value any) string {
	if value == "" {
		return ""
	}
	host, port, err := net.SplitHostPort(value.(string))
	if err != nil {
		return "must be HOST:PORT"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return "port must be a number from 0 to 65535"
	}
	if strings.ContainsAny(host, " \t/@\r\n") {
		return "must be HOST:PORT"
	}
	return ""
}

func httpsURL(value any) string {
	u, err := url.Parse(value.(string))
	switch {
	case err != nil:
		return "is not a URL"
	case u.User != nil:
		return "must not hold a user or password"
	case u.Scheme != "https":
		return "scheme must be https"
	case u.Hostname() == "":
		return "has no host name"
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "must end with the path"
	}
	return ""
}

func word(value any) string {
	if strings.ContainsFunc(value.(string), func(r rune) bool { return r < ' ' || r == 0x7F }) {
		return "must not hold control characters"
	}
	return ""
}

// header is for text that goes into an HTTP header between quotes or as it is.
func header(value any) string {
	if strings.ContainsFunc(value.(string), func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return "must be printable ASCII without quotes and backslashes"
	}
	return ""
}

func subjectTemplate(value any) string {
	template := value.(string)
	if !strings.Contains(template, "{name}") {
		return "must contain {name}"
	}
	rest := strings.NewReplacer("{name}", "", "{model}", "").Replace(template)
	if strings.ContainsAny(rest, "{}") {
		return "may use {name} and {model} only"
	}
	if err := fleet.CheckSubjectTemplate(template); err != nil {
		return "must end in {name} or -{name}, by which phones are recognised"
	}
	return word(value)
}

func pattern(value any) string {
	if _, err := regexp.Compile(value.(string)); err != nil {
		return "is not a regular expression: " + strings.TrimPrefix(err.Error(), "error parsing regexp: ")
	}
	return ""
}

// fingerprints are SHA-256 fingerprints, in the forms in which tools print them.
func fingerprints(value any) string {
	for _, v := range value.([]string) {
		if !isFingerprint(v) {
			return fmt.Sprintf("%q is no SHA-256 fingerprint (64 hex digits)", v)
		}
	}
	return ""
}

func isFingerprint(v string) bool {
	sum, err := hex.DecodeString(Fingerprint(v))
	return err == nil && len(sum) == sha256.Size
}

// Fingerprint brings a fingerprint into its one form: lower-case hex without colons and blanks.
func Fingerprint(text string) string {
	return strings.ToLower(strings.NewReplacer(":", "", " ", "").Replace(text))
}

func rate(value any) string {
	if _, err := enroll.ParseRate(value.(string)); err != nil {
		return err.Error()
	}
	return ""
}

func groups(value any) string {
	if _, err := fleet.ParseGroup(value.([]string)); err != nil {
		return withRemedy(err)
	}
	return ""
}

func subjectsFor(value any) string {
	for _, v := range value.([]string) {
		if _, template, ok := strings.Cut(v, "="); ok {
			if text := subjectTemplate(strings.TrimSpace(template)); text != "" {
				return fmt.Sprintf("%q: the template %s", v, text)
			}
		}
	}
	if _, err := fleet.ParseSubjectRules(value.([]string), pkix.Name{}); err != nil {
		return withRemedy(err)
	}
	return ""
}

// withRemedy is what is wrong and, where the error knows it, what to write instead.
func withRemedy(err error) string {
	if p, ok := errors.AsType[*fleet.Problem](err); ok && p.Fix != "" {
		return p.Error() + "; " + p.Fix
	}
	return err.Error()
}

func windows(value any) string {
	for _, v := range value.([]string) {
		if _, err := fleet.ParseWindow(v, time.UTC); err != nil {
			return withRemedy(err)
		}
	}
	return ""
}

func zone(value any) string {
	if _, err := time.LoadLocation(value.(string)); err != nil {
		return "is no time zone: use Local, UTC or a name such as Europe/Paris"
	}
	return ""
}
