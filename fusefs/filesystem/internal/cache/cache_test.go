package cache

import "testing"

func TestLeastRecentlyUsedGoesFirst(t *testing.T) {
	c := New[int, string](3)
	c.Put(1, "one", 1)
	c.Put(2, "two", 1)
	c.Put(3, "three", 1)
	c.Get(1)
	c.Put(4, "four", 1)
	for key, want := range map[int]bool{1: true, 2: false, 3: true, 4: true} {
		if _, found := c.Get(key); found != want {
			t.Errorf("key %d found: %v, want %v", key, found, want)
		}
	}
}

func TestWeightsStayWithinTheBound(t *testing.T) {
	c := New[int, string](10)
	c.Put(1, "a", 4)
	c.Put(2, "b", 4)
	c.Put(1, "c", 6)
	if value, _ := c.Get(1); value != "c" {
		t.Errorf("replaced value reads %q", value)
	}
	if _, found := c.Get(2); !found {
		t.Error("a value that fits is gone")
	}
	c.Put(3, "d", 7)
	if c.weight != 7 || len(c.items) != 1 {
		t.Errorf("%d values weigh %d", len(c.items), c.weight)
	}
	c.Put(4, "heavy", 11)
	if _, found := c.Get(4); found {
		t.Error("a value heavier than the bound is kept")
	}
}
