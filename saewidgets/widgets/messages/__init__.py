"""Every message and piece of synced state that crosses between Python and the page, written once."""
