package certsrvtest

// Requests returns every request in the CA's database, by id.
func (s *Server) Requests() []Record { return s.db.all() }

// Issued returns the issued requests, by id.
func (s *Server) Issued() []Record {
	var issued []Record
	for _, r := range s.db.all() {
		if r.Disposition == DispositionIssued {
			issued = append(issued, r)
		}
	}
	return issued
}

// Request returns the request with this id.
func (s *Server) Request(id int) (Record, bool) {
	e, ok := s.db.get(id)
	return e.Record, ok
}
