package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRun(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, in, want string
		code           int
	}{
		{
			name: "pass and skip",
			in: `{"Action":"start","Package":"p"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:7: pki is not installed\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
{"Action":"skip","Package":"p","Test":"TestC"}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p","Elapsed":0.1}
{"Action":"start","Package":"a"}
{"Action":"output","Package":"a","Output":"?   \ta\t[no test files]\n"}
{"Action":"skip","Package":"a"}
`,
			want: "3 tests, 2 skipped\n  skipped 1: no reason given (p TestC)\n  skipped 1: pki is not installed (p TestB)\n" +
				"?   \ta\t[no test files]\nok  \tp\t0.1s\n",
		},
		{
			name: "fail", code: 1,
			in: `{"Action":"start","Package":"p"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: broken\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- FAIL: TestA (0.00s)\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"FAIL\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p","Elapsed":0.1}
`,
			want: "    a_test.go:1: broken\n--- FAIL: TestA (0.00s)\nFAIL\n1 tests, 0 skipped\nFAIL\tp\t0.1s\nFAIL\n",
		},
		{
			name: "panic in a test", code: 1,
			in: `{"Action":"start","Package":"p"}
{"Action":"output","Package":"p","Test":"TestA","Output":"panic: oh\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
`,
			want: "panic: oh\n0 tests, 0 skipped\nFAIL\tp\t0.1s\nFAIL\n",
		},
		{
			name: "build failure", code: 1,
			in: `{"ImportPath":"p","Action":"build-output","Output":"p.go:1:1: wrong\n"}
{"ImportPath":"p","Action":"build-fail"}
{"Action":"start","Package":"p"}
{"Action":"output","Package":"p","Output":"FAIL\tp [build failed]\n"}
{"Action":"fail","Package":"p","FailedBuild":"p"}
`,
			want: "p.go:1:1: wrong\n0 tests, 0 skipped\nFAIL\tp [build failed]\nFAIL\n",
		},
		{
			name: "stream cut off", code: 1,
			in:   `{"Action":"start","Package":"p"}` + "\n",
			want: "no end of p: go test was ended\n0 tests, 0 skipped\nFAIL\n",
		},
		{name: "go says why it does not begin", code: 1, in: "go: no such package\n", want: "go: no such package\n0 tests, 0 skipped\nFAIL\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var out, progress bytes.Buffer
			if code := run(strings.NewReader(tc.in), &out, &progress); code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			if diff := cmp.Diff(tc.want, out.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
