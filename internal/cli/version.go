package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// build is what the binary knows of itself.
type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Date    string `json:"date"`
	Go      string `json:"go"`
	System  string `json:"system"`
}

func readBuild() build {
	b := build{Version: "unknown", Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Version = info.Main.Version
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.Date = s.Value
		}
	}
	return b
}

func (e *env) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "version", Short: "Print version, commit and Go version", Args: noArgs,
		Example: "  callsign version\n  callsign version --json",
		RunE: func(*cobra.Command, []string) error {
			b := readBuild()
			if e.json {
				return e.printJSON(b)
			}
			_, err := fmt.Fprintf(e.out, "callsign %s commit %s date %s %s %s\n", b.Version, or(b.Commit, "unknown"), or(b.Date, "unknown"), b.Go, b.System)
			return err
		},
	}
	return exits(cmd, exitOK, exitUsage)
}
