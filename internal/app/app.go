package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"callsign/capf"
	"callsign/est"
	"callsign/internal/config"
	"callsign/internal/enroll"
	"callsign/internal/store"
	"callsign/internal/trace"
)

// An orderly stop takes less than 5 seconds, which is what service managers and tests wait.
const (
	finishWithin = 2500 * time.Millisecond // for sessions under way
	engineWithin = 500 * time.Millisecond  // for attempts at an authority, before they are cancelled
	stopWithin   = 4500 * time.Millisecond // for everything
)

// pendingPoll is how often the CA is asked for what a person there has to decide, at least.
const pendingPoll = 5 * time.Minute

// Options are what an App is started with.
type Options struct {
	Config *config.Config
	// Handler gets the structured log; nil discards it.
	Handler slog.Handler
	// Level is the level of Handler; a reload sets it to log.level. Nil: a reload leaves the level alone.
	Level *slog.LevelVar
	// Load reads the configuration anew for Reload. Nil: Reload fails.
	Load func() (*config.Config, error)
	// CAPF and EST are listeners to use instead of opening the configured addresses; nil opens them.
	CAPF, EST net.Listener
	Now       func() time.Time // nil: time.Now
}

// App is the running product.
type App struct {
	Records *Records
	// Ready lists the listeners in the form "capf 127.0.0.1:3804".
	Ready []string

	config     *config.Config // of the start: what a reload does not change
	log        *slog.Logger
	level      *slog.LevelVar
	load       func() (*config.Config, error)
	repeats    *repeats
	now        func() time.Time
	traces     *trace.Files
	store      *store.Store
	unlock     func() error // gives the database's server lock back
	engine     *enroll.Engine
	capf       *capf.Server
	est        *http.Server
	admin      *http.Server
	capfAddr   net.Addr
	legacyAddr net.Addr // capf.legacy_listen, when it is another one
	plainAddr  net.Addr
	estAddr    net.Addr

	keys       est.KeyMemory // those that serverkeygen has made and nobody has fetched
	generation atomic.Pointer[generation]
	changing   sync.RWMutex    // held while generation changes
	reloading  sync.Mutex      // one at a time
	run        context.Context //nolint:containedctx // of the services: a reload starts new ones
	knownOnce  sync.Once

	cancel    context.CancelFunc
	wg        sync.WaitGroup
	failed    chan error    // first fatal error of a service
	known     chan struct{} // closed when the CA's chain is known
	closeOnce sync.Once
	closeErr  error
}

// Start opens the database and the listeners and starts every configured service. When it returns without an error all
// listeners accept. The App runs until Stop, whatever happens to ctx.
func Start(ctx context.Context, o Options) (*App, error) {
	a := &App{config: o.Config, now: o.Now, level: o.Level, load: o.Load, failed: make(chan error, 8), known: make(chan struct{})}
	if a.now == nil {
		a.now = time.Now
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	a.run, a.cancel = run, cancel
	if err := a.start(run, o); err != nil {
		return nil, errors.Join(err, a.Stop(ctx))
	}
	return a, nil
}

func (a *App) start(ctx context.Context, o Options) error {
	if err := a.openLog(o.Handler); err != nil {
		return err
	}
	s, err := store.Open(ctx, a.config.Store.Path, store.Options{Log: a.log, Now: a.now})
	if err != nil {
		return err
	}
	a.store, a.Records = s, newRecords(s)
	if a.unlock, err = s.LockServer(); err != nil {
		return err
	}
	// Who waits for the file must not find that of the last run.
	if err := os.Remove(filepath.Join(a.Dir(), EndpointsFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the endpoints of the last run: %w", err)
	}
	a.engine = &enroll.Engine{
		Journal: a.Records.Journal, Authorities: a.newAuthorities(), Log: a.log, Now: a.now,
		// Who comes back after pending_retry_after is to find what has been decided since.
		PendingPoll: min(pendingPoll, a.config.RA.PendingRetryAfter),
	}
	first, err := a.newGeneration(a.config)
	if err != nil {
		return err
	}
	a.generation.Store(first)
	if a.engine.Rates, err = a.rates(first.issuers); err != nil {
		return err
	}
	// The EST listener first: CAPF may be its client.
	if a.config.EST.Listen != "" {
		if err := a.startEST(ctx, o.EST); err != nil {
			return err
		}
	}
	if a.config.ServesCAPF() {
		if err := a.startCAPF(ctx, o.CAPF); err != nil {
			return err
		}
	}
	if len(a.Ready) == 0 {
		return &Problem{ErrCode: "app.no-listener", Detail: "neither capf.listen nor est.listen is set, so there is nothing to serve", Fix: "set one of them in the configuration"}
	}
	a.goRun("enrolment engine", func() error { return a.engine.Run(ctx) })
	first.start(ctx)
	a.startAdmin(ctx)
	return a.writeEndpoints()
}

// openLog joins the structured log, in which repeated failures are summarised, with the compatible traces, in which each
// has its lines.
func (a *App) openLog(h slog.Handler) error {
	if h == nil {
		h = slog.DiscardHandler
	}
	a.repeats = newRepeats(h)
	h = a.repeats
	if dir := a.config.Trace.Dir; dir != "" {
		files, err := trace.OpenFiles(dir)
		if err != nil {
			return err
		}
		a.traces = files
		h = slog.NewMultiHandler(h, files.Handler(trace.Options{Now: a.now}))
	}
	a.log = slog.New(h)
	return nil
}

// listen opens the address that key sets, unless a listener is given.
func (a *App) listen(ctx context.Context, given net.Listener, key, addr string) (net.Listener, error) {
	if given != nil {
		return given, nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, &Problem{
			ErrCode: "app.listen", Detail: fmt.Sprintf("%s: cannot listen on %s: %v", key, addr, err), Err: err,
			Fix: fmt.Sprintf("end what uses the port (ss -ltnp), or set %s to another address", key),
		}
	}
	return l, nil
}

func (a *App) startEST(ctx context.Context, given net.Listener) error {
	l, err := a.listen(ctx, given, "est.listen", a.config.EST.Listen)
	if err != nil {
		return err
	}
	a.estAddr = l.Addr()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g := a.hold()
		defer g.users.Done()
		g.handler.ServeHTTP(w, r)
	})
	a.est = est.NewServer(handler, &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return a.current().estPair, nil },
		MinVersion:     tls.VersionTLS12,
	}, a.log)
	a.goRun("EST listener", func() error { return a.est.ServeTLS(est.LimitListener(l, est.DefaultMaxConnections), "", "") })
	a.Ready = append(a.Ready, "est "+l.Addr().String())
	return nil
}

// current is what the configuration that is in force has made. Callers that use it more than once keep it.
func (a *App) current() *generation { return a.generation.Load() }

// hold is current for who uses it for a while: what it made stays open until users.Done.
func (a *App) hold() *generation {
	a.changing.RLock()
	defer a.changing.RUnlock()
	g := a.generation.Load()
	g.users.Add(1)
	return g
}

// replace puts a generation into the place of the present one, which is returned and has no new users from then on.
func (a *App) replace(next *generation) *generation {
	a.changing.Lock()
	defer a.changing.Unlock()
	return a.generation.Swap(next)
}

// goRun runs a service until it ends; an end that Stop did not ask for stops the App.
func (a *App) goRun(name string, run func() error) {
	a.wg.Go(func() {
		err := run()
		switch {
		case err == nil, errors.Is(err, context.Canceled), errors.Is(err, http.ErrServerClosed), errors.Is(err, capf.ErrServerClosed):
			return
		}
		select {
		case a.failed <- fmt.Errorf("%s: %w", name, err):
		default:
		}
	})
}

// Wait returns when ctx ends, with nil, or when a service fails, with its error. Call Stop afterwards in both cases.
func (a *App) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-a.failed:
		return err
	}
}

// Stop ends the App in order: no new connections, sessions under way are finished as far as 2.5 seconds allow, then the
// engine and the database are closed. It returns within 5 seconds, whatever still holds on: nothing that is on disk is
// lost by leaving it behind. It may be called more than once.
func (a *App) Stop(ctx context.Context) error {
	a.closeOnce.Do(func() {
		done := make(chan error, 1)
		go func() { done <- a.stop(context.WithoutCancel(ctx)) }()
		select {
		case a.closeErr = <-done:
		case <-time.After(stopWithin):
			a.closeErr = &Problem{
				ErrCode: "app.stop", Detail: "not everything ended within 5 seconds; what was under way goes on with the next start",
				Fix: "if this recurs, look for what holds the database or the network: ss -tnp, fuser " + a.config.Store.Path,
			}
		}
	})
	return a.closeErr
}

func (a *App) stop(ctx context.Context) error {
	a.finishSessions(ctx)
	if a.engine != nil {
		ctx, cancel := context.WithTimeout(ctx, engineWithin)
		defer cancel()
		if err := a.engine.Shutdown(ctx); err != nil {
			a.log.InfoContext(ctx, "enrolments were cut and go on with the next start", slog.String("err", err.Error()))
		}
	}
	a.reloading.Lock() // a reload that is under way still starts something
	a.cancel()
	a.reloading.Unlock()
	a.wg.Wait()
	var errs []error
	if g := a.current(); g != nil {
		g.issuers.close()
	}
	if a.unlock != nil {
		errs = append(errs, a.unlock())
	}
	if a.store != nil {
		errs = append(errs, a.store.Close())
	}
	if a.repeats != nil {
		a.repeats.close(ctx)
	}
	if a.traces != nil {
		errs = append(errs, a.traces.Close())
	}
	return errors.Join(errs...)
}

// finishSessions closes the listeners and waits for the sessions under way.
func (a *App) finishSessions(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, finishWithin)
	defer cancel()
	var stopping sync.WaitGroup
	if a.capf != nil {
		stopping.Go(func() {
			if err := a.capf.Shutdown(ctx); err != nil {
				a.log.WarnContext(ctx, "phone sessions were cut", slog.String("err", err.Error()))
			}
			// CAPF's own connections to the RA in this process would otherwise keep the EST listener waiting.
			a.current().issuers.closeRA()
		})
	}
	if a.admin != nil {
		stopping.Go(func() { _ = a.admin.Shutdown(ctx) }) // what it was asked is done or not: the answer says it
	}
	if a.est != nil {
		stopping.Go(func() {
			if err := a.est.Shutdown(ctx); err != nil {
				_ = a.est.Close()
			}
		})
	}
	stopping.Wait()
}
