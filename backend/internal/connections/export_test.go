package connections

// Slots is how many connections memory has anything of.
func (r *Repository) Slots() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.slots)
}

// Shrink lets readers be answered from memory for so many connections only.
func (r *Repository) Shrink(size int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cache.Resize(size)
}
