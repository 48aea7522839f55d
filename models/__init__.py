"""Networks written as a user of trtnet would write them, and the scripts that train them."""
