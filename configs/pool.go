package configs

import "iter"

// pool hands out values that are taken back all at once, to be used again with
// the memory that they hold. The zero pool is ready.
type pool[T any] struct {
	blocks [][]T
	used   int
}

// poolBlock is how many values a pool makes at a time.
const poolBlock = 64

// take returns a value that is not in use, as its last user left it.
func (p *pool[T]) take() *T {
	if p.used == poolBlock*len(p.blocks) {
		p.blocks = append(p.blocks, make([]T, poolBlock))
	}
	v := &p.blocks[p.used/poolBlock][p.used%poolBlock]
	p.used++
	return v
}

// reset takes all values back.
func (p *pool[T]) reset() { p.used = 0 }

// taken yields the values in use, in the order in which they were taken.
func (p *pool[T]) taken() iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for i := range p.used {
			if !yield(&p.blocks[i/poolBlock][i%poolBlock]) {
				return
			}
		}
	}
}
