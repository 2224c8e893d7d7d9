package certsrvtest

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
)

// manager is the account that approves and denies.
func (s *Server) manager() string { return s.cfg.Domain + `\camanager` }

// Approve issues a pending request, as a CA manager does. It fails for an unknown id, for a request that is not pending,
// and when the CA fails; then the request stays pending.
func (s *Server) Approve(ctx context.Context, id int) error {
	e, ok := s.db.get(id)
	if !ok {
		return fmt.Errorf("approve request %d: %w", id, &statusError{eNoRequest})
	}
	if e.Disposition != DispositionPending {
		return fmt.Errorf("approve request %d: %w", id, &statusError{eBadRequestStatus})
	}
	// Take the request first, so that two managers do not issue it twice.
	if err := s.db.update(id, func(e *entry) error {
		if e.Disposition != DispositionPending || e.approving {
			return &statusError{eBadRequestStatus}
		}
		e.approving = true
		return nil
	}); err != nil {
		return fmt.Errorf("approve request %d: %w", id, err)
	}
	issueErr := s.issue(ctx, e.Issuance, &e)
	if issueErr != nil {
		e.approving = false // back to the managers
	}
	err := s.db.update(id, func(row *entry) error {
		*row = e
		return nil
	})
	if issueErr != nil {
		return fmt.Errorf("approve request %d: %w", id, issueErr)
	}
	if err != nil {
		return fmt.Errorf("approve request %d: %w", id, err)
	}
	s.log.Info("pending request approved", slog.String("event", EventApproved), slog.String("request_id", strconv.Itoa(id)))
	return nil
}

// Deny denies a pending request, as a CA manager does: status 0x80094014. It fails for an unknown id and for a request
// that is not pending.
func (s *Server) Deny(id int) error {
	err := s.db.update(id, func(e *entry) error {
		if e.Disposition != DispositionPending || e.approving {
			return &statusError{eBadRequestStatus}
		}
		e.Issuance, e.Text = nil, s.manager()
		e.fail(&managerError{}, s.now())
		return nil
	})
	if err != nil {
		return fmt.Errorf("deny request %d: %w", id, err)
	}
	s.log.Info("pending request denied", slog.String("event", EventDenied), slog.String("request_id", strconv.Itoa(id)))
	return nil
}

// look returns a request, after approving it when its time has come.
func (s *Server) look(ctx context.Context, id int) (entry, bool) {
	e, ok := s.db.get(id)
	if ok && e.Disposition == DispositionPending && e.Approve > 0 && !s.now().Before(e.Submitted.Add(e.Approve)) {
		if err := s.Approve(ctx, id); err != nil {
			s.log.Debug("request not approved by itself", slog.Any("err", err))
		}
		e, ok = s.db.get(id)
	}
	return e, ok
}
