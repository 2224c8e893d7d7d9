package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

const (
	patientFor = time.Second      // shorter work shows no progress
	lineEvery  = 10 * time.Second // off a terminal
)

// progress shows on stderr how far many like things are: a bar on a terminal, a line now and then elsewhere. Not for
// concurrent use.
type progress struct {
	w     io.Writer
	name  string
	total int
	bar   *progressbar.ProgressBar // nil off a terminal
	began time.Time
	last  time.Time // when a line was written
}

func (e *env) newProgress(name string, total int) *progress {
	p := &progress{w: e.err, name: name, total: total, began: time.Now(), last: time.Now()}
	if isTerminal(e.err) {
		p.bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(e.err), progressbar.OptionShowCount(), progressbar.OptionClearOnFinish(),
			progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(false), progressbar.OptionThrottle(time.Second/5),
			progressbar.OptionSetWidth(20), progressbar.OptionSetTheme(progressbar.ThemeASCII))
	}
	return p
}

// show tells that so many are done, failed ones included.
func (p *progress) show(done, failed int) {
	elapsed := time.Since(p.began)
	switch {
	case p.bar != nil && elapsed > patientFor:
		_ = p.bar.Set(done) // a bar that cannot be drawn is no failure
		p.bar.Describe(p.name + pace(done, failed, p.total, elapsed))
	case p.bar == nil && time.Since(p.last) >= lineEvery:
		p.last = time.Now()
		fmt.Fprintf(p.w, "%s  %d/%d%s\n", p.name, done, p.total, pace(done, failed, p.total, elapsed))
	}
}

// pace says how fast it goes, when it will end and how many failed.
func pace(done, failed, total int, elapsed time.Duration) string {
	rate := float64(done) / elapsed.Seconds()
	if rate <= 0 {
		return ""
	}
	eta := time.Duration(float64(total-done) / rate * float64(time.Second)).Round(time.Second)
	return fmt.Sprintf("  %.0f/s  eta %s  %d failed", rate, eta, failed)
}
