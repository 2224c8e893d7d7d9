package winauth

// Flipped returns a Dialer whose logins carry a channel binding with one wrong bit.
func Flipped(d Dialer) Dialer {
	d.alter = func(t *target) {
		if t.binding != nil {
			wrong := *t.binding
			wrong[7] ^= 1
			t.binding = &wrong
		}
	}
	return d
}
