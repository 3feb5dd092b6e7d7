"""What every measurement needs: contenders to hold side by side, and how to say what came out."""
