package egress

// String and GoString redact: the proxy's URL may hold a password.
func (Policy) String() string   { return "egress policy" }
func (Policy) GoString() string { return "egress policy" }
