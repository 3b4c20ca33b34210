package ssh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// signOfLife is how long a connection that was idle may take to answer before it counts
// as lost and another one is made.
const signOfLife = 5 * time.Second

// Pool keeps connections open for a while when nobody uses them, for the next who needs
// one to the same host. A connection that is lost, or was silent when it was needed, is
// replaced and never given out again. Its methods may be called from several goroutines.
type Pool struct {
	idle time.Duration

	ctx   context.Context // of connecting
	stop  context.CancelFunc
	tasks sync.WaitGroup // that connect, and that close

	mu     sync.Mutex
	conns  map[poolKey][]*pooled
	closed bool
}

// poolKey tells apart connections that cannot stand in for each other.
type poolKey struct {
	target  Target
	options Options
	shares  int
}

// pooled is a connection of a pool. What is not said to be of another's belongs to the
// pool's lock.
type pooled struct {
	key    poolKey
	made   chan struct{} // closed when client and err are set
	client *Client       // nil if there is an err
	err    error
	users  int
	spent  bool        // it is not given out again
	expiry *time.Timer // set while nobody uses it
}

// Lease is the use of a pool's connection by one. The caller must Release it.
type Lease struct {
	pool *Pool
	conn *pooled
	once sync.Once
}

// NewPool makes a pool that closes connections which nobody has used for so long.
func NewPool(idle time.Duration) *Pool {
	p := &Pool{idle: idle, conns: make(map[poolKey][]*pooled)}
	p.ctx, p.stop = context.WithCancel(context.Background())
	return p
}

// Lease gives the use of a connection to a host, which it makes if there is none. At most
// so many users share it, 1 or more: one alone has it for itself. The errors are those of
// [Dial].
func (p *Pool) Lease(ctx context.Context, t Target, o Options, shares int) (*Lease, error) {
	key := poolKey{t, o, shares}
	for {
		c, old, err := p.take(key)
		if err != nil {
			return nil, err
		}
		select {
		case <-c.made:
		case <-ctx.Done():
			p.giveBack(c)
			return nil, context.Cause(ctx)
		}
		if c.err != nil {
			p.giveBack(c)
			return nil, c.err
		}
		if !old || c.client.alive(ctx) {
			return &Lease{pool: p, conn: c}, nil
		}
		p.spend(c)
		p.giveBack(c)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}

// take finds a connection with room for one more, or begins to make one; old says that it
// was there.
func (p *Pool) take(key poolKey) (_ *pooled, old bool, _ error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, false, fmt.Errorf("connect to %s: %w", key.target.Host, errClosed)
	}
	for _, c := range p.conns[key] {
		if c.spent || c.users >= key.shares {
			continue
		}
		c.users++
		if c.expiry != nil {
			c.expiry.Stop()
			c.expiry = nil
		}
		select {
		case <-c.made:
			return c, true, nil
		default:
			return c, false, nil
		}
	}
	c := &pooled{key: key, made: make(chan struct{}), users: 1}
	p.conns[key] = append(p.conns[key], c)
	p.tasks.Go(func() {
		c.client, c.err = Dial(p.ctx, key.target, key.options)
		if c.err != nil {
			p.spend(c)
		}
		close(c.made)
	})
	return c, false, nil
}

// spend has a connection not be given out again. Those who use it go on.
func (p *Pool) spend(c *pooled) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.spent = true
}

// giveBack ends one use of a connection.
func (p *Pool) giveBack(c *pooled) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.users--; c.users > 0 || p.closed {
		return
	}
	select {
	case <-c.made:
		if c.spent || c.client.Err() != nil {
			p.drop(c)
			return
		}
	default: // everyone who waited for it has left
	}
	c.expiry = time.AfterFunc(p.idle, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if c.users == 0 && !p.closed {
			p.drop(c)
		}
	})
}

// drop closes a connection that nobody uses and forgets it; mu is held.
func (p *Pool) drop(c *pooled) {
	if c.spent = true; c.expiry != nil {
		c.expiry.Stop()
	}
	rest := slices.DeleteFunc(p.conns[c.key], func(other *pooled) bool { return other == c })
	if p.conns[c.key] = rest; len(rest) == 0 {
		delete(p.conns, c.key)
	}
	p.tasks.Go(c.close)
}

func (c *pooled) close() {
	<-c.made
	if c.client != nil {
		c.client.Close()
	}
}

// Close closes all connections, also those in use, and waits for that.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	p.stop()
	for _, all := range p.conns {
		for _, c := range all {
			if c.expiry != nil {
				c.expiry.Stop()
			}
			p.tasks.Go(c.close)
		}
	}
	clear(p.conns)
	p.mu.Unlock()
	p.tasks.Wait()
	return nil
}

// Client is the connection. It is not to be closed by the one who leases it.
func (l *Lease) Client() *Client { return l.conn.client }

// Spend has the connection not be given out again, after an error that may be its own.
func (l *Lease) Spend() { l.pool.spend(l.conn) }

// Release gives the connection back. It may be called several times.
func (l *Lease) Release() { l.once.Do(func() { l.pool.giveBack(l.conn) }) }

// alive asks the peer for a sign of life and waits for it, not for long.
func (c *Client) alive(ctx context.Context) bool {
	if c.Err() != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, signOfLife)
	defer cancel()
	_, err := await(ctx, func() (struct{}, error) {
		_, _, err := c.ssh.SendRequest("keepalive@openssh.com", true, nil)
		return struct{}{}, err
	}, func(struct{}) {})
	return err == nil
}

// Refused tells whether the server has refused one program or socket over a connection
// that is well: it bounds how many sessions a connection may have (MaxSessions).
func Refused(err error) bool {
	_, refused := errors.AsType[*ssh.OpenChannelError](err)
	return refused
}
