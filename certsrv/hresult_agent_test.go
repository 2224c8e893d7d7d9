package certsrv

import (
	"regexp"
	"testing"
)

// TestAgentStatuses: what is said of a request that an agent signed is complete, says something else than what is said
// of others, and keeps the symbolic name.
func TestAgentStatuses(t *testing.T) {
	t.Parallel()
	seen := map[HResult]bool{}
	for _, s := range AgentStatuses() {
		if s.Meaning == "" || s.Remedy == "" || !regexp.MustCompile(`^[A-Z0-9_]+$`).MatchString(s.Name) || seen[s.HResult] {
			t.Errorf("%s is incomplete or there twice: %+v", s.HResult, s)
		}
		seen[s.HResult] = true
		plain, known := LookupHResult(s.HResult)
		if known && (plain.Name != s.Name || plain.Retryable != s.Retryable) {
			t.Errorf("%s: %+v and %+v", s.HResult, s, plain)
		}
		if plain.Remedy == s.Remedy && plain.Meaning == s.Meaning {
			t.Errorf("%s is explained twice in the same words", s.HResult)
		}
		if got, ok := LookupAgentHResult(s.HResult); !ok || got != s {
			t.Errorf("%s is found as %+v", s.HResult, got)
		}
	}
	for _, tt := range []struct {
		h     HResult
		known bool
	}{{StatusTemplateDenied, true}, {0x80094809, true}, {0x80041234, false}} {
		if s, known := LookupAgentHResult(tt.h); known != tt.known || s.Remedy == "" || s.Name == "" {
			t.Errorf("%s: %+v, known %v", tt.h, s, known)
		}
	}
}
