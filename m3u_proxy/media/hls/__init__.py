"""Parts of the HLS rewriter that `m3u_proxy.media.playlist` is made of."""
