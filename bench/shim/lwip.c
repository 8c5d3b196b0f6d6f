/* Drives lwIP's raw API: two network interfaces of one instance (the library keeps its state in globals, so both
 * ends share its lists), a copying link between them, no system call. The library's own thread never gets the core
 * lock, and its clock is advanced here. */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <lwip/init.h>
#include <lwip/ip.h>
#include <lwip/netif.h>
#include <lwip/pbuf.h>
#include <lwip/priv/tcp_priv.h>
#include <lwip/tcp.h>
#include <lwip/tcpip.h>

#define RING 4096
#define PORT 80

struct queue {
    struct pbuf *ring[RING];
    unsigned head, tail;
};

struct end {
    struct tcp_pcb *pcb;
    struct end *other;
    unsigned long received;
    int open, eof;
};

static struct netif client_if, server_if;
static struct queue to_server, to_client;
static ip_addr_t client_ip, server_ip;
static struct tcp_pcb *listener;
static struct end *accepting;
static int answering;
static unsigned long packets, rounds;
static char source[65536], sink[65536];

static double processor_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static err_t carry(struct netif *netif, struct pbuf *p, const ip4_addr_t *to)
{
    struct queue *q = netif == &client_if ? &to_server : &to_client;
    struct pbuf *copy = pbuf_alloc(PBUF_RAW, p->tot_len, PBUF_RAM);
    (void)to;
    if (!copy || q->tail - q->head == RING)
        return ERR_MEM;
    pbuf_copy(copy, p);
    q->ring[q->tail++ % RING] = copy;
    packets++;
    return ERR_OK;
}

static err_t init_if(struct netif *netif)
{
    netif->output = carry;
    netif->mtu = 1500;
    netif->name[0] = 'b';
    netif->name[1] = 'e';
    return ERR_OK;
}

/* 10 us pass in a round, and lwIP's timer wants to be called every 250 ms. */
static int pump(void)
{
    int moved = 0;
    if (++rounds % 25000 == 0)
        tcp_tmr();
    while (to_server.head != to_server.tail) {
        ip4_input(to_server.ring[to_server.head++ % RING], &server_if);
        moved = 1;
    }
    while (to_client.head != to_client.tail) {
        ip4_input(to_client.ring[to_client.head++ % RING], &client_if);
        moved = 1;
    }
    return moved;
}

static err_t on_recv(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
    struct end *e = arg;
    (void)err;
    if (!p) {
        e->eof = 1;
        if (answering && e->pcb) {
            e->pcb = NULL;
            tcp_arg(pcb, NULL);
            tcp_close(pcb);
        }
        return ERR_OK;
    }
    e->received += p->tot_len;
    pbuf_copy_partial(p, sink, p->tot_len, 0);
    tcp_recved(pcb, p->tot_len);
    if (answering && e == accepting)
        tcp_write(pcb, source, 1, TCP_WRITE_FLAG_COPY);
    pbuf_free(p);
    return ERR_OK;
}

/* For random connections every server end answers. */
static err_t on_recv_any(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
    (void)arg;
    (void)err;
    if (!p)
        return ERR_OK;
    tcp_recved(pcb, p->tot_len);
    tcp_write(pcb, source, 1, TCP_WRITE_FLAG_COPY);
    pbuf_free(p);
    return ERR_OK;
}

static err_t on_connected(void *arg, struct tcp_pcb *pcb, err_t err)
{
    struct end *e = arg;
    (void)pcb;
    (void)err;
    e->open = 1;
    return ERR_OK;
}

static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t err)
{
    struct end *e = accepting;
    (void)arg;
    (void)err;
    tcp_nagle_disable(pcb);
    e->pcb = pcb;
    e->open = 1;
    tcp_arg(pcb, e);
    tcp_recv(pcb, on_recv);
    return ERR_OK;
}

static void setup(void)
{
    static int done;
    ip4_addr_t a, b, mask, any;
    struct tcp_pcb *pcb;
    if (done)
        return;
    done = 1;
    tcpip_init(NULL, NULL);
    LOCK_TCPIP_CORE();
    IP4_ADDR(&a, 10, 0, 1, 1);
    IP4_ADDR(&b, 10, 0, 2, 1);
    IP4_ADDR(&mask, 255, 255, 255, 0);
    IP4_ADDR(&any, 0, 0, 0, 0);
    netif_add(&client_if, &a, &mask, &any, NULL, init_if, ip4_input);
    netif_add(&server_if, &b, &mask, &any, NULL, init_if, ip4_input);
    netif_set_up(&client_if);
    netif_set_link_up(&client_if);
    netif_set_up(&server_if);
    netif_set_link_up(&server_if);
    ip_addr_copy_from_ip4(client_ip, a);
    ip_addr_copy_from_ip4(server_ip, b);
    pcb = tcp_new_ip_type(IPADDR_TYPE_V4);
    tcp_bind_netif(pcb, &server_if);
    tcp_bind(pcb, &server_ip, PORT);
    listener = tcp_listen_with_backlog(pcb, 255);
    tcp_accept(listener, on_accept);
}

static int open_pair(struct end *client, struct end *server)
{
    struct tcp_pcb *pcb = tcp_new_ip_type(IPADDR_TYPE_V4);
    memset(client, 0, sizeof *client);
    memset(server, 0, sizeof *server);
    client->other = server;
    accepting = server;
    client->pcb = pcb;
    tcp_bind_netif(pcb, &client_if);
    tcp_nagle_disable(pcb);
    tcp_arg(pcb, client);
    tcp_recv(pcb, on_recv);
    if (tcp_connect(pcb, &server_ip, PORT, on_connected) != ERR_OK)
        return 0;
    while (pump())
        ;
    return client->open && server->open;
}

static void close_pair(struct end *client, struct end *server)
{
    if (client->pcb) {
        tcp_arg(client->pcb, NULL);
        tcp_recv(client->pcb, NULL);
        tcp_abort(client->pcb);
    }
    if (server->pcb) {
        tcp_arg(server->pcb, NULL);
        tcp_recv(server->pcb, NULL);
        tcp_abort(server->pcb);
    }
    while (pump())
        ;
    while (tcp_tw_pcbs)
        tcp_abort(tcp_tw_pcbs);
}

double bench_lwip_bulk(double seconds)
{
    struct end client, server;
    double begun, taken;
    setup();
    answering = 0;
    if (!open_pair(&client, &server))
        return 0.0 / 0.0;
    begun = processor_seconds();
    do {
        for (int i = 0; i < 16; i++) {
            unsigned room = tcp_sndbuf(client.pcb);
            while (room >= 1460 && tcp_sndqueuelen(client.pcb) < TCP_SND_QUEUELEN - 24) {
                unsigned n = room > 16060 ? 16060 : room;
                if (tcp_write(client.pcb, source, n, TCP_WRITE_FLAG_COPY) != ERR_OK)
                    break;
                room = tcp_sndbuf(client.pcb);
            }
            tcp_output(client.pcb);
            if (!pump())
                tcp_tmr();
        }
        taken = processor_seconds() - begun;
    } while (taken < seconds);
    double rate = server.received / taken;
    close_pair(&client, &server);
    return rate;
}

double bench_lwip_round_trips(double seconds)
{
    struct end client, server;
    double begun, taken;
    setup();
    answering = 1;
    if (!open_pair(&client, &server))
        return 0.0 / 0.0;
    begun = processor_seconds();
    do {
        for (int i = 0; i < 1024; i++) {
            tcp_write(client.pcb, source, 1, TCP_WRITE_FLAG_COPY);
            tcp_output(client.pcb);
            pump();
        }
        taken = processor_seconds() - begun;
    } while (taken < seconds);
    double rate = client.received / taken;
    answering = 0;
    close_pair(&client, &server);
    return rate;
}

double bench_lwip_lives(double seconds, int keep)
{
    struct end client, server;
    unsigned long lives = 0, standing = 0;
    double begun = processor_seconds(), taken;
    setup();
    answering = 1;
    do {
        for (int i = 0; i < 64; i++) {
            struct tcp_pcb *pcb;
            if (!open_pair(&client, &server))
                return 0.0 / 0.0;
            tcp_write(client.pcb, source, 1, TCP_WRITE_FLAG_COPY);
            tcp_output(client.pcb);
            pump();
            if (client.received != 1)
                return 0.0 / 0.0;
            pcb = client.pcb;
            tcp_arg(pcb, NULL);
            tcp_recv(pcb, NULL);
            tcp_close(pcb);
            while (pump())
                ;
            lives++;
            if (!keep || ++standing >= 10000) {
                standing = 0;
                while (tcp_tw_pcbs)
                    tcp_abort(tcp_tw_pcbs);
            }
        }
        taken = processor_seconds() - begun;
    } while (taken < seconds);
    answering = 0;
    while (tcp_tw_pcbs)
        tcp_abort(tcp_tw_pcbs);
    return lives / taken;
}

static struct end *open_many(int n)
{
    struct end *ends = calloc(2 * (size_t)n, sizeof *ends);
    for (int i = 0; i < n; i++) {
        if (!open_pair(&ends[2 * i], &ends[2 * i + 1])) {
            free(ends);
            return NULL;
        }
        tcp_recv(ends[2 * i + 1].pcb, on_recv_any);
    }
    return ends;
}

static void close_many(struct end *ends, int n)
{
    for (int i = 0; i < n; i++)
        close_pair(&ends[2 * i], &ends[2 * i + 1]);
    free(ends);
}

double bench_lwip_random(int n, double seconds)
{
    unsigned long long state = 88172645463325252ull;
    unsigned long counted;
    double begun, taken;
    struct end *ends;
    setup();
    answering = 0;
    ends = open_many(n);
    if (!ends)
        return 0.0 / 0.0;
    counted = packets;
    begun = processor_seconds();
    do {
        for (int i = 0; i < 256; i++) {
            struct tcp_pcb *pcb;
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            pcb = ends[2 * (state % n)].pcb;
            tcp_write(pcb, source, 1, TCP_WRITE_FLAG_COPY);
            tcp_output(pcb);
            pump();
        }
        taken = processor_seconds() - begun;
    } while (taken < seconds);
    counted = packets - counted;
    close_many(ends, n);
    return taken * 1e9 / counted;
}

double bench_lwip_idle_bytes(int n)
{
    struct end *ends;
    size_t before, after;
    setup();
    answering = 0;
    ends = calloc(2 * (size_t)n, sizeof *ends);
    before = mallinfo2().uordblks;
    for (int i = 0; i < n; i++)
        if (!open_pair(&ends[2 * i], &ends[2 * i + 1]))
            return 0.0 / 0.0;
    after = mallinfo2().uordblks;
    close_many(ends, n);
    return (double)(after - before) / (2.0 * n);
}
