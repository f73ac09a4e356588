package providers

import (
	"fmt"
	"regexp/syntax"
)

// secretShapes checks what credentials are said to look like: a text that is refused for one must be unmistakable.
func (c *checker) secretShapes() {
	for i, s := range c.d.SecretShapes {
		at := fmt.Sprintf("secret_shapes[%d]", i)
		if len(s.Prefix) < 2 {
			c.add(at+".prefix", "a prefix has two characters or more")
		}
		if c.pattern(at+".rest", s.Rest) == nil {
			continue
		}
		if tree, err := syntax.Parse(s.Rest, syntax.Perl); err == nil && shortest(tree) < minSecretRest {
			c.add(at+".rest", "it takes less than %d characters, and a name may have as many", minSecretRest)
		}
	}
}
